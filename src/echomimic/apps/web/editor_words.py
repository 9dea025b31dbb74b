"""What the editor says, in English and Chinese; its page asks for words by these keys."""

import json
from html import escape

from echomimic.apps.web.advice import ADVICE_ZH
from echomimic.apps.web.words import Language, pattern

EDITOR_WORDS: dict[str, tuple[str, str]] = {
    "title": ("Motion editor", "动作编辑器"),
    "home": ("Make a video", "生成视频"),
    "portrait": ("Portrait", "肖像"),
    "voice": ("Voice", "声音"),
    "track": ("Saved track (optional)", "已保存的动作（可选）"),
    "begin": ("Open the editor", "打开编辑器"),
    "example": ("Open the example", "打开示例"),
    "kinds": ("What is edited", "编辑对象"),
    "face": ("Face", "脸部"),
    "hands": ("Hands", "双手"),
    "hands_help": (
        "The drawn hands are what V2 will follow. The photo's own hands do not move in this preview.",
        "画出的双手是 V2 要跟随的动作；预览中照片本身的手不会动。",
    ),
    "takes_none": ("all of the face", "整张脸"),
    "takes_landmarks": ("the face; the voice moves the mouth", "脸部；嘴由声音驱动"),
    "takes_mask": ("the room of the head; the voice moves the rest", "头部活动的范围；其余由声音驱动"),
    "takes_hands": ("the hands; the voice moves the face", "双手；脸由声音驱动"),
    "takes": ("takes {what}", "采用：{what}"),
    "not_here": ("not ready", "不可用"),
    "mend": ("What is not ready here, and what to run", "本机不可用的预设，以及要运行的命令"),
    "recent": ("a frame of the video that is being made", "正在生成的视频中的一帧"),
    "no_answer": (
        "the server does not answer; start it again: your edits are kept in this browser",
        "服务器没有应答，请重新启动；您的修改保留在此浏览器中",
    ),
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
    "still": ("Still", "静止"),
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
    "picture widths": ("× width", "× 画面宽"),
    "picture heights": ("× height", "× 画面高"),
    "left_x": ("left hand x", "左手左右"),
    "left_y": ("left hand y", "左手上下"),
    "left_turn": ("left hand turn", "左手转动"),
    "left_size": ("left hand size", "左手大小"),
    "right_x": ("right hand x", "右手左右"),
    "right_y": ("right hand y", "右手上下"),
    "right_turn": ("right hand turn", "右手转动"),
    "right_size": ("right hand size", "右手大小"),
    "keys": (
        "Space: play or pause · ←/→: one frame (Shift: ten) · ↑/↓: another curve, or the chosen point up and down "
        "(Shift: finer) · , and .: the point before and after · Alt+←/→: move the point in time · K: new point · "
        "Delete: remove the point · I and O: begin and end of a range · M: mute, or hold still · "
        "H: face or hands · Ctrl+Z, Ctrl+Y: undo, redo · "
        "Esc: let go",
        "空格：播放或暂停 · ←/→：一帧（Shift：十帧）· ↑/↓：换曲线，或上下移动所选的点（Shift：微调）· "
        ", 和 .：前后一个点 · "
        "Alt+←/→：在时间上移动点 · K：新的点 · Delete：删除点 · I 和 O：范围的起点和终点 · M：静音或静止 · "
        "H：脸部或双手 · "
        "Ctrl+Z、Ctrl+Y：撤销、重做 · Esc：取消选择",
    ),
}
_SHARED = (
    "draft",
    "balanced",
    "best",
    "waiting",
    "starting",
    "starting_network",
    "running",
    "running_network",
    "too_large",
    "done",
    "cancelled",
    "error",
    "note",
    "progress",
)


def editor_page(html: str, language: Language, limit: int) -> str:
    """The editor's page with its words put in; `limit` is how many bytes it may send."""
    words = {key: both[language == "zh"] for key, both in EDITOR_WORDS.items()}
    words |= {key: pattern(language, key) for key in _SHARED}
    words |= ADVICE_ZH if language == "zh" else {}
    data = json.dumps(words, ensure_ascii=False).replace("<", "\\u003c")
    values = {"lang": language, "limit": str(limit), "title": escape(words["title"]), "words": data}
    for name, value in values.items():
        html = html.replace(f"{{{{{name}}}}}", value)
    return html
