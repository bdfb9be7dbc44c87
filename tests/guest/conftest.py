"""Fixtures of the tests with guests; every test says SKIP where no guest can be run."""

import pytest

from harness import KERNELS, Guest, missing


def pytest_collection_modifyitems(items):
    if reason := missing():
        for item in items:
            item.add_marker(pytest.mark.skip(reason=f"no guests: {reason}"))


@pytest.fixture(scope="module", params=KERNELS)
def guest(request):
    """A guest of each kernel for a module's tests, with nothing plugged in."""
    with Guest(request.param, modules=["ena", "virtio_net"], dhcp=("ena", "virtio_net"), name=request.module.__name__) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """A failed test keeps the kernel's messages of the guests that it used."""
    report = yield
    if report.failed:
        for used in item.funcargs.values():
            if isinstance(used, Guest):
                used.save_messages()
    return report
