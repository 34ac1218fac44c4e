"""What pyproject.toml cannot say: where the packages lie, and the optional C++ step."""

from setuptools import find_packages, setup

FOLDERS = ("lang", "runtime", "radix_cache", "constrained", "kernels")

setup(
    script_name="setup.py",  # keeps this file out of the wheel: the root is a package
    package_dir={"radixlang": "."},  # runtime/engine.py is radixlang.runtime.engine
    packages=["radixlang"] + [f"radixlang.{p}" for f in FOLDERS for p in find_packages(include=[f, f"{f}.*"])],
)
