"""What the editor says, in English and Chinese; its page asks for words by these keys."""

import json
from html import escape

from echomimic.apps.web.words import Language, say

EDITOR_WORDS: dict[str, tuple[str, str]] = {
    "title": ("Motion editor", "动作编辑器"),
    "home": ("Make a video", "生成视频"),
    "portrait": ("Portrait", "肖像"),
    "voice": ("Voice", "声音"),
    "track": ("Saved track (optional)", "已保存的动作（可选）"),
    "begin": ("Open the editor", "打开编辑器"),
    "example": ("Open the example", "打开示例"),
    "no_face": ("follows no face track", "不跟随脸部动作"),
    "close": ("Close-up", "特写"),
    "fit": ("Whole range", "完整范围"),
    "begin_help": (
        "A portrait and a voice give a motion; here you change it by hand and render it with any preset.",
        "由肖像和声音得到动作；您可以在这里手动修改，再用任意预设渲染。",
    ),
    "restore": ("apply my {count} edits of last time", "应用上次的 {count} 处修改"),
    "lost": (
        "This session is not on the server any more. Choose portrait and voice again; your edits are kept here.",
        "服务器上已没有这个会话。请重新选择肖像和声音；您的修改仍保留在这里。",
    ),
    "working": ("working…", "处理中……"),
    "play": ("Play", "播放"),
    "pause": ("Pause", "暂停"),
    "undo": ("Undo", "撤销"),
    "redo": ("Redo", "重做"),
    "save": ("Save track", "保存动作"),
    "load": ("Load track", "载入动作"),
    "again": ("Same edits, another voice", "同样的修改，换一个声音"),
    "help": ("Keys", "按键"),
    "zoom_in": ("Zoom in", "放大"),
    "zoom_out": ("Zoom out", "缩小"),
    "strength": ("Strength", "强度"),
    "mute": ("Mute", "静音"),
    "whole": ("whole clip", "整段"),
    "range": ("{start} to {end} s", "{start} 至 {end} 秒"),
    "parts": ("Driven by this track, not by the voice", "由此动作而非声音驱动的部分"),
    "edits": ("Edits", "修改"),
    "no_edits": ("none yet: drag a point of a curve", "还没有：拖动曲线上的点"),
    "render": ("Render", "渲染"),
    "preset": ("Preset", "预设"),
    "quality": ("Quality", "质量"),
    "cancel": ("Cancel", "取消"),
    "download": ("Download", "下载"),
    "frame_alt": ("The portrait at the cursor", "光标处的肖像"),
    "wave": (
        "Wave form: click to play from there, shift and drag to choose a range",
        "波形：点击从该处播放，按住 Shift 拖动选择范围",
    ),
    "curve": ("Curve", "曲线"),
    "closed": ("lips should close", "嘴唇应闭合"),
    "open": ("lips should close and do not", "嘴唇应闭合而未闭合"),
    "key": ("point at {second} s: {value}", "{second} 秒处的点：{value}"),
    "eyes": ("eyes", "眼睛"),
    "brows": ("brows", "眉毛"),
    "mouth": ("mouth", "嘴"),
    "pupils": ("pupils", "瞳孔"),
    "nose": ("nose", "鼻子"),
    "head": ("head", "头"),
    "share": ("share", "比例"),
    "degrees": ("degrees", "度"),
    "face widths": ("face widths", "脸宽"),
    "jaw": ("jaw", "下颌"),
    "spread": ("spread", "嘴角展开"),
    "upper_lip": ("upper lip", "上唇"),
    "tuck": ("tuck", "下唇内收"),
    "closure": ("closure", "双唇闭合"),
    "tongue": ("tongue", "舌"),
    "smile": ("smile", "微笑"),
    "blink": ("blink", "眨眼"),
    "brow": ("brow", "眉"),
    "gaze_x": ("gaze x", "视线左右"),
    "gaze_y": ("gaze y", "视线上下"),
    "yaw": ("yaw", "转头"),
    "pitch": ("pitch", "点头"),
    "roll": ("roll", "歪头"),
    "shift_x": ("shift x", "左右移动"),
    "shift_y": ("shift y", "上下移动"),
    "breath": ("breath", "呼吸"),
    "sway": ("sway", "摇摆"),
    "keys": (
        "Space: play or pause · ←/→: one frame (Shift: ten) · ↑/↓: another curve, or the chosen point up and down "
        "(Shift: finer) · , and .: the point before and after · Alt+←/→: move the point in time · K: new point · "
        "Delete: remove the point · I and O: begin and end of a range · M: mute · Ctrl+Z, Ctrl+Y: undo, redo · "
        "Esc: let go",
        "空格：播放或暂停 · ←/→：一帧（Shift：十帧）· ↑/↓：换曲线，或上下移动所选的点（Shift：微调）· "
        ", 和 .：前后一个点 · "
        "Alt+←/→：在时间上移动点 · K：新的点 · Delete：删除点 · I 和 O：范围的起点和终点 · M：静音 · "
        "Ctrl+Z、Ctrl+Y：撤销、重做 · Esc：取消选择",
    ),
}
_SHARED = (
    "draft",
    "balanced",
    "best",
    "waiting",
    "starting",
    "running",
    "done",
    "cancelled",
    "error",
    "note",
    "progress",
)


def editor_page(html: str, language: Language) -> str:
    """The editor's page with its words put in."""
    words = {key: both[language == "zh"] for key, both in EDITOR_WORDS.items()}
    words |= {key: _pattern(language, key) for key in _SHARED}
    data = json.dumps(words, ensure_ascii=False).replace("<", "\\u003c")
    return html.replace("{{lang}}", language).replace("{{title}}", escape(words["title"])).replace("{{words}}", data)


def _pattern(language: Language, key: str) -> str:
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
    )
    return say(language, key, **{name: _Brace(name) for name in names})


class _Brace:
    """Formats as its own name in braces, whatever the format."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __format__(self, _how: str) -> str:
        return "{" + self._name + "}"
