"""Object stores for tests end with whoever started them, and say why where they can't be had."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import obstore
import psutil
import pytest

from timestore_assets_tests import object_server_binaries as binaries
from timestore_assets_tests import object_server_start as start

ROOT = Path(__file__).parent.parent.parent
WAIT = 30.0
CHILD = """
import sys
from timestore_assets_tests.object_server_start import s3_server
with s3_server() as server:
    print(server.endpoint, flush=True)
    sys.stdin.read()
"""
