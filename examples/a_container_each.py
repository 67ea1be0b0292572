"""Run pieces of code that nobody trusts, each in a container of its own, several at a time."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import auberge

CODE = [
    "print(sum(range(1000)))",
    "import os; print(os.listdir('/home'), os.getpid())",
    "open('/etc/passwd', 'w').close(); print('it was only its own')",
    "import urllib.request; urllib.request.urlopen('http://192.0.2.1', timeout=1)",
    "x = [0] * (1 << 30)",
    "while True: pass",
]


def judge(code: str) -> str:
    """What it prints; or how it has ended."""
    with auberge.Container("debian", ["python3", "-c", code], memory="64M", pids=20) as box:
        try:
            done = box.run(timeout=5)
        except subprocess.TimeoutExpired:
            return "took too long"
    said = (done.stdout + done.stderr).strip().rpartition("\n")[2]
    return said or f"status {done.returncode}"


begin = time.monotonic()
with ThreadPoolExecutor(2) as pool:
    for code, said in zip(CODE, pool.map(judge, CODE), strict=True):
        print(f"{code[:40]:40}  {said[:60]}")
print(f"{time.monotonic() - begin:.1f} s")
