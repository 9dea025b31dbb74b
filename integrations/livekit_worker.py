"""Join a LiveKit room as the avatar of an agent.

    LIVEKIT_URL=… LIVEKIT_TOKEN=… python integrations/livekit_worker.py portrait.png

The agent sends its sound with `DataStreamAudioOutput(room, destination_identity="echomimic", sample_rate=24000)`; the
token must be for the identity `echomimic`, with the attribute lk.publish_on_behalf of the agent.
"""

import asyncio
import os
import sys

from livekit import rtc
from livekit.agents.voice.avatar import AvatarRunner, DataStreamAudioReceiver
from livekit_avatar import EchoMimicVideoGenerator

import echomimic


async def main(portrait: str) -> None:
    """Publish the portrait until the room closes."""
    stream = echomimic.stream(portrait, rate=24_000, size=512)
    generator, room = EchoMimicVideoGenerator(stream), rtc.Room()
    await room.connect(os.environ["LIVEKIT_URL"], os.environ["LIVEKIT_TOKEN"])
    runner = AvatarRunner(
        room, audio_recv=DataStreamAudioReceiver(room), video_gen=generator, options=generator.options
    )
    await runner.start()
    try:
        await runner.wait_for_complete()
    finally:
        stream.close()
        await runner.aclose()
        await room.disconnect()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
