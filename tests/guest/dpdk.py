"""Makes an archive for the initramfs of a guest that runs DPDK's testpmd on an ENA: program, plugins, libraries.

scripts/setup-guests calls it: dpdk.py ROOT OUT, with the packages dpdk-dev and librte-net-ena unpacked in ROOT.
"""

import pathlib
import sys

from image import Archive, libraries

LIBRARIES = "usr/lib/x86_64-linux-gnu"
# What testpmd opens by name (its option -d): the driver, its bus, and the pools of its buffers.
PLUGINS = ("librte_bus_pci", "librte_mempool_ring", "librte_net_ena")


def archive(root: pathlib.Path) -> bytes:
    program = root / "usr/bin/dpdk-testpmd"
    plugins = [min((root / LIBRARIES).glob(f"{name}.so.*"), key=lambda path: len(path.name)) for name in PLUGINS]
    needed = set(plugins)
    for binary in (program, *plugins):
        needed |= set(libraries(root, binary))
    made = Archive()
    made.file("usr/bin/dpdk-testpmd", program.read_bytes(), executable=True)
    for library in sorted(needed):
        made.file(f"{LIBRARIES}/{library.name}", library.read_bytes(), executable=True)
    for name, plugin in zip(PLUGINS, plugins):
        made.link(f"{LIBRARIES}/{name}.so", plugin.name)
    return made.bytes()


if __name__ == "__main__":
    pathlib.Path(sys.argv[2]).write_bytes(archive(pathlib.Path(sys.argv[1]).resolve()))
