"""A portrait photo and a voice become a video of that person speaking; the motion in between is data.

>>> import echomimic
>>> echomimic.animate("portrait.png", "voice.wav", output="out.mp4")  # doctest: +SKIP

Names are imported when they are first used; `__init__.pyi` lists them.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
