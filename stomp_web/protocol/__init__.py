"""The conversion between bytes and frames of STOMP 1.0, 1.1 and 1.2.

The package opens no socket and starts no thread. The package reads no clock and writes no log.
"""

from . import commands
from .buffer import FrameBuffer
from .encode import encode
from .frame import CLIENT_COMMANDS, COMMANDS, COMMANDS_WITH_BODY, SERVER_COMMANDS, Frame
from .versions import VERSIONS, choose_version, negotiate_heart_beat, parse_heart_beat

__all__ = [
    "CLIENT_COMMANDS",
    "COMMANDS",
    "COMMANDS_WITH_BODY",
    "SERVER_COMMANDS",
    "VERSIONS",
    "Frame",
    "FrameBuffer",
    "choose_version",
    "commands",
    "encode",
    "negotiate_heart_beat",
    "parse_heart_beat",
]
