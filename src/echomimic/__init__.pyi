from .api import animate as animate
from .api import load as load
from .api import plan as plan
from .api import predict as predict
from .checkpoints import LoraFile as LoraFile
from .engines import Engine as Engine
from .engines import Render as Render
from .errors import EchoMimicError as EchoMimicError
from .media import read_picture as read_picture
from .media import read_speech as read_speech
from .notes import Note as Note
from .options import Options as Options
from .options import OptionsDict as OptionsDict
from .options import WorkOptions as WorkOptions
from .presets import PRESETS as PRESETS
from .presets import Preset as Preset
from .streaming import Frame as Frame
from .streaming import Stream as Stream
from .streaming import stream as stream
from .types import (
    Clip as Clip,
)
from .types import (
    Curves as Curves,
)
from .types import (
    LandmarkTrack as LandmarkTrack,
)
from .types import (
    Motion as Motion,
)
from .types import (
    Plan as Plan,
)
from .types import (
    Portrait as Portrait,
)
from .types import (
    PoseTrack as PoseTrack,
)
from .types import (
    Progress as Progress,
)
from .types import (
    Speech as Speech,
)

__version__: str
__all__: list[str]
