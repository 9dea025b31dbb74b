"""A Gradio demo of the API: with echomimic installed, `pip install gradio`, then `python gradio_space.py`."""

import tempfile
from pathlib import Path

import gradio

import echomimic
from echomimic.data import demo_portrait, demo_voice

ENGINE = echomimic.load("mesh")
"""Loaded once: it renders on any CPU."""


def speak(portrait: str | None, voice: str | None, size: float, seed: float, progress=gradio.Progress()):  # noqa: B008
    """The video of a portrait that speaks, and notes about it."""
    if not portrait or not voice:
        raise gradio.Error("A portrait and a voice are needed: choose both.")
    output = Path(tempfile.mkdtemp()) / "speaking.mp4"
    try:
        clip = echomimic.animate(
            portrait,
            voice,
            output=output,
            preset="mesh",
            engine=ENGINE,
            size=int(size),
            seed=int(seed),
            progress=lambda done, total: progress(done / max(total, 1)),
        )
    except echomimic.EchoMimicError as error:
        raise gradio.Error(str(error)) from None
    return str(clip.path), "\n".join(map(str, clip.notes))


demo = gradio.Interface(
    speak,
    [
        gradio.Image(type="filepath", label="Portrait"),
        gradio.Audio(type="filepath", label="Voice"),
        gradio.Slider(256, 1024, 512, step=8, label="Longer side in pixels"),
        gradio.Number(0, label="Seed", precision=0),
    ],
    [gradio.Video(label="Video"), gradio.Textbox(label="Notes")],
    examples=[[str(demo_portrait()), str(demo_voice()), 512, 0]],
    cache_examples=False,
    title="EchoMimic",
)

if __name__ == "__main__":
    demo.queue(max_size=16).launch()
