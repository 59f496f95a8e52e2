"""The process of a command ends at once, with its exit code, its output whole and everyone told who asked to be."""

from __future__ import annotations

import subprocess
import sys

PROCESS = "import sys; from timestore_assets.cli.process import main; sys.argv = ['timestore', *{arguments!r}]; sys.exit(main())"


def ended(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    script = before + PROCESS.format(arguments=arguments)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)


# printed when modules are taken apart, which is what the end spares
LEFT = "import sys; sys.is_left = type('Left', (), {'__del__': lambda self: print('taken apart')})();"


def test_a_command_ends_without_taking_its_modules_apart() -> None:
    done = ended("version", before=LEFT)
    assert (done.returncode, "taken apart" in done.stdout) == (0, False)
    assert done.stdout.strip()


def test_the_exit_code_is_that_of_the_command() -> None:
    done = ended("query", "--limit", "none", before=LEFT)
    assert (done.returncode, "taken apart" in done.stdout) == (2, False)
    assert done.stderr.startswith("error: ")


def test_what_was_registered_before_the_command_is_called_at_its_end() -> None:
    done = ended("version", before="import atexit; atexit.register(print, 'told of the end');")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "told of the end")


def test_threads_are_waited_for_at_the_end() -> None:
    late = """
import threading
def speak():
    threading.main_thread().join()
    print('late')
threading.Thread(target=speak).start()
"""
    done = ended("version", before=late)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "late")


def test_output_that_nobody_reads_is_no_failure() -> None:
    script = PROCESS.format(arguments=("version",))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(timeout=60)) == ("", 141)
