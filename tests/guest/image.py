"""Makes the parts of a guest out of unpacked Debian packages: cpio archives for an initramfs.

scripts/setup-guests calls it as a program. An initramfs is a row of such archives, so a guest is put
together of one for the userland, one for its kernel's modules and one for what a test adds
(harness.py). Nothing here needs root: the archives say what they hold, whoever owns the files.

Source of the archive format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

import lzma
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import zlib

PROGRAMS = (
    "bin/busybox bin/dash bin/flock bin/taskset bin/ip bin/ping bin/tcpdump bin/iperf3 bin/kmod bin/setpci bin/lspci sbin/ethtool bin/ss"
).split()
KMOD_NAMES = ("depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod")
# Opened at run time by name, so no program lists it: glibc needs it to cancel a thread (iperf3 does).
OPENED_BY_NAME = ("usr/lib/x86_64-linux-gnu/libgcc_s.so.1",)
FOLDERS = "dev proc sys run tmp root var/run etc usr/bin usr/sbin usr/lib usr/lib64".split()
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}


class Archive:
    """A cpio archive in the `newc` format, kept in memory."""

    def __init__(self):
        self.parts, self.names = [], set()

    def add(self, name: str, mode: int, content: bytes = b""):
        """Adds one entry and the folders above it; a name that is there already stays as it is."""
        name = name.strip("/")
        if name in self.names:
            return
        self.names.add(name)
        above = pathlib.PurePosixPath(name).parent
        if str(above) != ".":
            self.folder(str(above))
        self.parts.append(entry(name, mode, len(self.names), content))

    def folder(self, name: str):
        self.add(name, stat.S_IFDIR | 0o755)

    def link(self, name: str, target: str):
        self.add(name, stat.S_IFLNK | 0o777, target.encode())

    def file(self, name: str, content: bytes, executable=False):
        self.add(name, stat.S_IFREG | (0o755 if executable else 0o644), content)

    def tree(self, folder: pathlib.Path):
        """Adds every file below a folder, under its path from there."""
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if path.is_symlink():
                self.link(name, str(path.readlink()))
            elif path.is_file():
                self.file(name, path.read_bytes(), bool(path.stat().st_mode & 0o100))

    def bytes(self) -> bytes:
        return b"".join([*self.parts, entry("TRAILER!!!", 0, 0, b"")])


def entry(name: str, mode: int, inode: int, content: bytes) -> bytes:
    path = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + path
    return padded(head) + padded(content)


def padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % 4)


def linker(root: pathlib.Path) -> list:
    """The dynamic linker of a root with that root's libraries: it starts a program without a chroot."""
    return [str(root / "usr/lib64/ld-linux-x86-64.so.2"), "--library-path", str(root / "usr/lib/x86_64-linux-gnu")]


def libraries(root: pathlib.Path, program: pathlib.Path) -> list:
    """What the dynamic linker loads for a program, as paths; nothing for a static one."""
    # Source: ld.so(8), --verify: non-zero for what is not dynamically linked.
    if subprocess.run([linker(root)[0], "--verify", str(program)], check=False).returncode != 0:
        return []
    done = subprocess.run([*linker(root), "--list", str(program)], capture_output=True, text=True, check=True)
    if missing := re.findall(r"(\S+) => not found", done.stdout):
        sys.exit(f"{program} needs {missing}")
    return [pathlib.Path(path) for path in re.findall(r"=> (/\S+)", done.stdout)]


def userland(root: pathlib.Path, out: pathlib.Path):
    """Busybox, the programs and the libraries that they load."""
    made = Archive()
    for name, target in LINKS.items():
        made.link(name, target)
    for name in FOLDERS:
        made.folder(name)
    needed = {root / name for name in OPENED_BY_NAME}
    for name in PROGRAMS:
        program = root / "usr" / name
        if not program.exists():
            program = root / "usr" / name.replace("bin/", "sbin/", 1)
        made.file(f"usr/{name}", program.read_bytes(), executable=True)
        needed |= set(libraries(root, program))
    for library in sorted(needed):
        made.file(f"usr/lib/x86_64-linux-gnu/{library.name}", library.read_bytes(), executable=True)
    loader = (root / "usr/lib64/ld-linux-x86-64.so.2").resolve()
    made.file("usr/lib64/ld-linux-x86-64.so.2", loader.read_bytes(), executable=True)
    for name in KMOD_NAMES:
        made.link(f"usr/sbin/{name}", "../bin/kmod")
    # Busybox's own shell runs its applets before any program of the same name, whatever PATH says.
    made.link("usr/bin/sh", "dash")
    applets = subprocess.run([root / "usr/bin/busybox", "--list"], capture_output=True, text=True, check=True)
    # A real program of the same name is found first, wherever it lies.
    real = {pathlib.PurePosixPath(name).name for name in made.names}
    for applet in applets.stdout.split():
        if applet not in real:
            made.link(f"usr/bin/{applet}", "busybox")
    out.write_bytes(made.bytes())


def kernel(root: pathlib.Path, unpacked: pathlib.Path, release: str, out: pathlib.Path, wanted: list):
    """A kernel's image, configuration and the modules `wanted` with all that they depend on."""
    folder = unpacked / "usr/lib/modules" / release
    known = {plain(path.name): path for path in folder.rglob("*.ko*")}
    built_in = {plain(line.rsplit("/", 1)[-1]) for line in (folder / "modules.builtin").read_text().split()}
    tree = out / "tree/lib/modules" / release
    tree.mkdir(parents=True)
    todo, done = [plain(name) for name in wanted], set()
    while todo:
        name = todo.pop()
        if name in done or name in built_in:
            continue
        if name not in known:
            sys.exit(f"{release} has no module {name}")
        done.add(name)
        content = uncompressed(known[name])
        target = tree / known[name].relative_to(folder).with_name(f"{name}.ko")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        todo += depends(content)
    for name in ("modules.builtin", "modules.builtin.modinfo"):
        (tree / name).write_bytes((folder / name).read_bytes())
    (tree / "modules.order").write_text("".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*.ko"))))
    loader, *options = linker(root)
    depmod = [loader, "--argv0", "depmod", *options, str(root / "usr/bin/kmod"), "-b", str(out / "tree"), release]
    subprocess.run(depmod, check=True)
    made = Archive()
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            made.file(f"usr/lib/modules/{release}/{path.relative_to(tree)}", path.read_bytes())
    (out / "modules.cpio").write_bytes(made.bytes())
    (out / "release").write_text(release + "\n")
    shutil.rmtree(out / "tree")
    for name in ("vmlinuz", "config"):
        # Up to 6.12 in /boot, later beside the modules.
        places = (unpacked / "boot" / f"{name}-{release}", folder / name)
        (out / name).write_bytes(next(path for path in places if path.exists()).read_bytes())


def plain(name: str) -> str:
    """A module's name as the kernel has it: no ending, no hyphens."""
    return name.split(".ko")[0].replace("-", "_")


def uncompressed(path: pathlib.Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(content)
    return zlib.decompress(content, wbits=31) if path.suffix == ".gz" else content


def depends(module: bytes) -> list:
    """The modules that one needs, from the `depends=` string that its build left in it."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    return [plain(name) for name in found[1].decode().split(",") if name] if found else []


if __name__ == "__main__":
    what, root, *rest = sys.argv[1], pathlib.Path(sys.argv[2]).resolve(), *sys.argv[3:]
    if what == "userland":
        userland(root, pathlib.Path(rest[0]))
    elif what == "kernel":
        unpacked, release, out, *wanted = rest
        kernel(root, pathlib.Path(unpacked), release, pathlib.Path(out), wanted)
    else:
        sys.exit(f"image.py: unknown command {what}")
