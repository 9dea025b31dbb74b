"""What to do about an error, in Chinese: one line for each class, before the exact line, which is in English."""

from echomimic.apps.web.words import Language
from echomimic.errors import InputError


class SaidError(InputError):
    """Something is missing, and that is said in the page's own language already."""


ADVICE_ZH: dict[str, str] = {
    "PictureError": "这张图片无法使用，请换一张完好的图片（JPEG、PNG 或 WebP）。",
    "FaceError": "图片里找不到可用的人像，请换一张脸部清晰的正面照，或在“高级选项”里指定脸的位置。",
    "SoundError": "这段声音无法使用，请换一个有声音的音频或视频文件。",
    "VideoError": "这段视频无法读取，请换一个完好的视频文件。",
    "MotionError": "这份动作无法使用，请换一个由本程序保存的动作文件，或检查这一处修改。",
    "OptionError": "有一项缺失或超出范围，请按下面的说明修改。",
    "TooLargeError": "文件太大，请换一个更小的文件。",
    "SaidError": "",
    "GoneError": "服务器上已没有它，请重新生成或重新打开。",
    "InputError": "输入无法使用，请按下面的说明修改。",
    "OutputError": "结果无法写入，请检查磁盘空间和权限。",
    "WeightsError": "缺少模型权重，请运行下面的命令，或改用预设 mesh。",
    "SetupError": "缺少软件包，请运行下面的命令，或改用预设 mesh。",
    "DeviceError": "本机的设备无法完成，请减小尺寸或帧数，或改用预设 mesh。",
    "MemoryError": "内存不足，请减小尺寸。",
    "Busy": "排队的视频太多，请稍后再试。",
    "Exception": "程序内部出错，请把下面这一行报告给开发者。",
}


def trouble_of(error: Exception) -> str:
    """The name of the error's class, or of the nearest one above it that has advice."""
    return next(each.__name__ for each in type(error).__mro__ if each.__name__ in ADVICE_ZH)


def advice(language: Language, trouble: str) -> str:
    """What to do; nothing in English, where the error itself says it."""
    return ADVICE_ZH.get(trouble, "") if language == "zh" else ""
