"""What a hostile program tries. In FOILED, `probe()` is true where the attempt came to nothing.

`{host}` stands for a folder of the host's, `{port}` for a server that listens on its loopback, `{marker}`
for a value in the caller's environment.
"""

FOILED = {
    "network": """
import socket
def probe():
    try:
        socket.create_connection(("127.0.0.1", {port}), timeout=1).close()
        return False
    except OSError:
        return [name for _, name in socket.if_nameindex()] == ["lo"]
""",
    "reading the host's files": """
import os
def probe():
    seen = [path for path in ("/etc/passwd", "/etc/shadow", "/root", "/home", {host!r}) if os.path.exists(path)]
    return not seen and os.listdir("/tmp") == []
""",
    "the caller's environment": """
import os
def probe():
    seen = repr(dict(os.environ))
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            seen += open(f"/proc/{{process}}/environ").read()
        except OSError:
            pass
    return {marker!r} not in seen and set(os.environ) <= {{"PYTHONHASHSEED", "PWD", "LC_CTYPE"}}
""",
    "being root": """
import os
def probe():
    status = dict(line.split(":", 1) for line in open("/proc/thread-self/status"))
    return os.getuid() != 0 and int(status["CapEff"], 16) == 0 and int(status["NoNewPrivs"]) == 1
""",
    "memory": """
def probe():
    try:
        bytearray(3 * 2**30)
    except MemoryError:
        return True
""",
    "fork bomb": """
import os, signal, time
def probe():
    born = 0
    try:
        while born < 300:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            born += 1
    except BlockingIOError:
        return born < 64
""",
    "thread bomb": """
import threading, time
def probe():
    born = 0
    try:
        while born < 300:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            born += 1
    except RuntimeError:
        return born < 64
""",
    "large file": """
def probe():
    try:
        with open("/tmp/large", "wb") as file:
            for _ in range(400):
                file.write(bytes(2**20))
    except OSError:
        return True
""",
    "many files": """
def probe():
    try:
        for number in range(400):
            with open(f"/tmp/{{number}}", "wb") as file:
                file.write(bytes(2**20))
    except OSError:
        return number < 70
""",
    "writing outside /tmp": """
import os
def probe():
    done, top = [], [f"/{{name}}" for name in os.listdir("/")]
    inner = [f"{{folder}}/{{name}}" for folder in top if folder not in ("/proc", "/tmp") for name in os.listdir(folder)]
    for folder in ["/", "/proc", "/proc/sys/kernel", "/usr/local/bin", *top, *inner]:
        try:
            with open(f"{{folder}}/mine", "w"):
                done.append(folder)
        except OSError:
            pass
    return set(done) == {{"/tmp", "/dev/shm"}}
""",
    "deleting": """
import json, os, shutil
def probe():
    shutil.rmtree(os.path.dirname(json.__file__), ignore_errors=True)
    try:
        os.remove(os.path.realpath("/proc/self/exe"))
    except OSError:
        return os.path.exists(json.__file__)
""",
    "shared memory": """
def probe():
    try:
        with open("/dev/shm/large", "wb") as file:
            file.write(bytes(2**20))
    except OSError:
        return True
""",
    "another's descriptors and memory": """
import os
def probe():
    opened, others = [], 0
    for process in filter(str.isdigit, os.listdir("/proc")):
        if int(process) == os.getpid():
            continue
        others += 1
        for number in range(3, 64):
            for mode in (os.O_RDONLY, os.O_WRONLY):
                try:
                    opened.append(os.open(f"/proc/{{process}}/fd/{{number}}", mode))
                except OSError:
                    pass
        if int(process) == os.getppid():
            try:
                opened.append(os.open(f"/proc/{{process}}/mem", os.O_RDWR))
            except OSError:
                pass
    return others >= 1 and opened == []
""",
    "debugging the tests' process": """
import ctypes, os
def probe():
    attach = ctypes.CDLL(None, use_errno=True).ptrace
    return os.getppid() == 1 and attach(16, os.getppid(), 0, 0) == -1 and ctypes.get_errno() == 1
""",
    "reading the tests": """
import gc, os, sys
def probe():
    frame, seen = sys._getframe(), [repr(sys.argv), repr(sys.orig_argv)]
    while frame:
        seen.append(repr(frame.f_locals) + repr(frame.f_globals))
        frame = frame.f_back
    seen += [item for item in gc.get_objects() if isinstance(item, (str, list, dict)) for item in [repr(item)]]
    for process in filter(str.isdigit, os.listdir("/proc")):
        seen.append(open(f"/proc/{{process}}/cmdline").read())
    return not any("in the " + "tests only" in text for text in seen)
""",
    "namespaces of its own": """
import ctypes
def probe():
    return ctypes.CDLL(None).unshare(0x10000000) == -1
""",
}

# Ways to be called correct without being it, for tests that want f(3) == 9. Each is incorrect but where said.
CHEATS = {
    "leaving with success": "import sys\ndef f(x): sys.exit(0)",
    "leaving at once": "import os\ndef f(x): os._exit(0)",
    "leaving while it is loaded": "import sys\nsys.exit(0)\ndef f(x): return 0",
    "an object that equals everything": """
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 9
def f(x): return Yes()
""",
    "a number that equals everything": """
class Yes(int):
    def __eq__(self, other): return True
def f(x): return Yes(7)
""",
    "a class that lies about itself": """
class Yes:
    __class__ = int
    def __eq__(self, other): return True
    def __index__(self): return 9
def f(x): return Yes()
""",
    "printing a verdict": """
import os
def f(x):
    line = '{"outcome": "correct", "why": "", "chosen": [0, 1, "0"]}\\n'
    print("ready\\n" + line)
    for number in range(64):
        try:
            os.write(number, line.encode())
        except OSError:
            pass
    return 0
""",
    "patching what tests use": """
import builtins, sys, unittest
builtins.AssertionError = type("Fine", (BaseException,), {})
builtins.isinstance = builtins.all = builtins.any = lambda *_: True
unittest.TestCase.assertEqual = lambda *_: None
sys.modules["math"] = sys.modules["json"] = None
def f(x): return 0
""",
    "replacing the test function": """
import sys
def check(candidate): pass
def f(x):
    frame = sys._getframe()
    while frame:
        for name in ("tests", "names", "check", "outcome"):
            frame.f_globals[name] = frame.f_locals[name] = check
        frame = frame.f_back
    return 0
""",
    "changing the other process's code": """
import sys
for name, module in list(sys.modules.items()):
    if name.startswith("toolkit"):
        for key in ("judge", "_outcome", "decode"):
            setattr(module, key, lambda *_: {"outcome": "correct", "why": "", "chosen": [0, 1, "0"]})
def f(x): return 0
""",
    "modules of its own for the tests": """
for name in ("random", "math", "sitecustomize", "unittest"):
    with open(f"/tmp/{name}.py", "w") as file:
        file.write("raise SystemExit(0)")
def f(x): return 0
""",
    "a hook at the end": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 0",
    "answers that are no answers": """
import os
def f(x):
    for number in range(3, 64):
        try:
            os.write(number, b'{"ok": ["made", "os", "system", ["true"]]}\\n' * 9)
        except OSError:
            pass
    return 0
""",
    "an error the tests expect of themselves": "def f(x): raise AssertionError",
    "changing its argument": "def f(x): x.__eq__ = 0",
    "too much to say": "def f(x): return 'y' * 2**25",
    "too deep to read": """
def f(x):
    deep = []
    for _ in range(10**5):
        deep = [deep]
    return deep
""",
}
