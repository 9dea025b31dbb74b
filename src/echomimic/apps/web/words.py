"""What the page and the editor say, in English and Chinese. Options are said in `Options`; here only in Chinese."""

import os
import re
from pathlib import Path
from typing import Literal

from echomimic.apps.option_specs import OptionSpec, spell_options

Language = Literal["en", "zh"]
LANGUAGES: dict[Language, str] = {"en": "English", "zh": "中文"}

WORDS: dict[str, tuple[str, str]] = {
    "title": ("Make a portrait speak", "让肖像开口说话"),
    "subtitle": (
        "A photo and a voice become a video. Everything stays on this machine.",
        "一张照片加一段声音，即可生成视频。一切都在本机完成。",
    ),
    "portrait": ("Portrait: a photo, drawing or painting", "肖像：照片、素描或绘画"),
    "voice": ("Voice: a sound file, or a video's sound", "声音：音频文件，或视频中的声音"),
    "example": ("Try the example", "试用示例"),
    "quality": ("Quality", "质量"),
    "draft": ("Draft", "草稿"),
    "balanced": ("Balanced", "均衡"),
    "best": ("Best", "最佳"),
    "preset": ("Preset", "预设"),
    "seed": ("Seed", "随机种子"),
    "seed_help": ("same inputs and seed: the same video", "输入和种子相同，视频就相同"),
    "new_seed": ("New seed", "换一个种子"),
    "generate": ("Generate", "生成视频"),
    "cancel": ("Cancel", "取消"),
    "advanced": ("Advanced", "高级选项"),
    "presets_here": ("Which presets can run here", "本机可用的预设"),
    "ready": ("ready", "可用"),
    "not_ready": ("not ready; to mend it, run:", "不可用；请运行："),
    "looking": ("looking at this machine…", "正在检查本机……"),
    "video": ("Video", "视频"),
    "edit": ("Edit the motion", "编辑动作"),
    "editor": ("Motion editor", "动作编辑器"),
    "open_editor": ("Open the motion editor", "打开动作编辑器"),
    "need_both": ("drop a portrait and a voice first", "请先放入肖像和声音"),
    "error": ("error", "错误"),
    "note": ("note", "说明"),
    "waiting": ("waiting: {ahead} before this one", "排队中：前面还有 {ahead} 个"),
    "starting": ("reading the portrait and the voice…", "正在读取肖像和声音……"),
    "starting_network": (
        "loading the network, reading the portrait and the voice…",
        "正在加载网络，读取肖像和声音……",
    ),
    "running": (
        "{done} of {total} frames, {speed:.0f} a second, {left:.0f} s left",
        "第 {done} / {total} 帧，每秒 {speed:.0f} 帧，还需 {left:.0f} 秒",
    ),
    "running_network": (
        "{done} of {total} steps and frames, {speed:.2g} a second, {left:.0f} s left",
        "第 {done} / {total} 步（去噪与解码），每秒 {speed:.2g} 步，还需 {left:.0f} 秒",
    ),
    "done": (
        "{frames} frames, {seconds:.2f} s, {width} x {height}, preset {preset}, seed {seed}, made in {took:.1f} s",
        "{frames} 帧，{seconds:.2f} 秒，{width} x {height}，预设 {preset}，种子 {seed}，用时 {took:.1f} 秒",
    ),
    "upload_gone": (
        "{name} is not on the server any more; expected a file that was just chosen: choose it again",
        "服务器上已没有 {name}，请重新选择这个文件",
    ),
    "too_large": (
        "{name} has {size} MB; expected at most {limit} MB: choose a smaller file, or start the server with a larger "
        "--max-upload",
        "{name} 有 {size} MB，最多 {limit} MB：请换一个更小的文件，或用更大的 --max-upload 启动服务器",
    ),
    "cancelled": ("cancelled; nothing was kept", "已取消，没有保留任何文件"),
    "gone": (
        "the video of before is not on the server any more; press Generate again",
        "服务器上已没有之前的视频，请再次点击“生成视频”",
    ),
    "lost": (
        "the server does not answer; expected it to run: start it again, then load this page again",
        "服务器没有应答，请重新启动服务器，再刷新本页",
    ),
    "crop": (
        "The video shows the bright part in {width} x {height} pixels; the picture has {wide} x {high}.",
        "视频显示明亮的部分，大小为 {width} x {height} 像素；原图为 {wide} x {high}。",
    ),
    "crop_alt": ("The portrait; the face is framed.", "肖像；脸部已框出。"),
    "voice_said": ("{seconds:.2f} s, {frames} frames", "{seconds:.2f} 秒，{frames} 帧"),
    "preview_alt": ("a frame of the video that is being made", "正在生成的视频中的一帧"),
    "progress": ("how far the video is", "视频进度"),
    "default": ("by itself", "自动"),
}

OPTIONS_ZH: dict[str, tuple[str, str]] = {
    "size": ("尺寸", "视频长边的像素数；默认与原图相同，最多 1024"),
    "fps": ("帧率", "每秒帧数"),
    "frames": ("帧数", "生成多少帧；0 表示与声音等长"),
    "framing": ("取景", "full 保留整张图片，crop 裁出头部周围的正方形"),
    "face": ("哪张脸", "从左数第几张脸；默认取最大的"),
    "face_box": ("脸的位置", "自动找不到脸时，用图片像素给出 x,y,w,h"),
    "crop_margin": ("裁剪边距", "裁剪时脸部周围的空间，以脸的大小为单位"),
    "seed": ("随机种子", "输入和种子相同，画面就相同"),
    "motion_strength": ("动作幅度", "头部和眉毛的活动幅度；0 为静止"),
    "mouth_strength": ("张嘴幅度", "嘴张得多大"),
    "blink_rate": ("眨眼频率", "每分钟眨眼次数；0 为不眨眼"),
    "still_background": ("背景静止", "头部活动时背景保持不动"),
    "steps": ("步数", "去噪步数"),
    "guidance": ("引导强度", "条件的影响强度；不大于 1 时耗时减半"),
    "context_frames": ("窗口帧数", "一起去噪的帧数"),
    "context_overlap": ("窗口重叠", "相邻窗口共用的帧数"),
    "context_batch": ("窗口批量", "网络一次处理几个窗口；越多越快，也越占内存"),
    "sampler": ("采样器", "去除噪声的方法"),
    "windows": ("窗口方式", "closed 首尾相接用于循环，open 不相接"),
    "motion_end": ("动作结尾", "动作比声音短时：loop 往返，hold 停在最后一帧，stop 结束"),
    "mask_margin": ("遮罩边距", "v1 遮罩在脸部周围的空间"),
    "exact": ("与原版一致", "保留原版的行为，包括其缺陷"),
    "device": ("设备", "auto、cpu、cuda、cuda:1、mps 或 xpu"),
    "dtype": ("数值格式", "网络的数值格式"),
    "offload": ("分段装载", "各阶段之间把权重移出设备：更慢，但更省内存"),
    "compile": ("编译", "编译网络：启动慢，大量视频时更快"),
    "workers": ("线程数", "渲染线程；0 表示每个核心一个"),
}
GROUPS_ZH = {"Picture and length": "画面与长度", "Motion": "动作", "Diffusion": "扩散模型", "Machine": "机器"}


def say(language: Language, key: str, **values: object) -> str:
    """The words of `key`, with `values` put in."""
    return WORDS[key][language == "zh"].format(**values)


def pattern(language: Language, key: str) -> str:
    """Words with names in braces for the page to fill in; how many digits it shows is its own affair."""
    names = (
        "ahead",
        "done",
        "total",
        "speed",
        "left",
        "frames",
        "seconds",
        "width",
        "height",
        "preset",
        "seed",
        "took",
        "name",
        "size",
        "limit",
    )
    return say(language, key, **{name: _Brace(name) for name in names})


class _Brace:
    """Formats as its own name in braces, whatever the format."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __format__(self, _how: str) -> str:
        return "{" + self._name + "}"


def option_label(language: Language, control: OptionSpec) -> str:
    """The name of an option for people."""
    if language == "zh" and control.name in OPTIONS_ZH:
        return OPTIONS_ZH[control.name][0]
    return control.name.replace("_", " ").capitalize()


def option_help(language: Language, control: OptionSpec) -> str:
    """The sentence of help of an option."""
    return OPTIONS_ZH[control.name][1] if language == "zh" and control.name in OPTIONS_ZH else control.help


def group_label(language: Language, group: str) -> str:
    """The name of a group of options."""
    return GROUPS_ZH.get(group, group) if language == "zh" else group


def preferred(accepted: str) -> Language:
    """The language to begin with, by what the browser accepts."""
    return "zh" if accepted.lower().startswith("zh") else "en"


def plain(text: str, folder: Path) -> str:
    """A message in one line, with the names of files below `folder` only."""
    inside = re.escape(str(folder)) + r"(?:[/\\](?:(?:new-)?[0-9a-f]{32,}|[0-9])(?=[/\\]))*[/\\]?"
    text = re.sub(inside, "", spell_options(text))
    return " ".join(text.replace(f"{folder}{os.sep}", "").split())
