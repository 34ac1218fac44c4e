"""What pyproject.toml cannot say: where the packages lie, and the optional C++ step."""

import importlib.util
import logging
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
FOLDERS = ("lang", "runtime", "radix_cache", "constrained", "kernels")


class BuildStep(build_ext):
    """The native CPU step, every instruction set, by the package's own builder (kernels/cpu/build.py).

    Without a compiler the install succeeds. An editable install compiles at first use instead, for one machine.
    """

    def run(self) -> None:
        if self.editable_mode:
            return
        spec = importlib.util.spec_from_file_location("_native_build", HERE / "kernels" / "cpu" / "build.py")
        assert spec is not None
        assert spec.loader is not None
        native = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(native)
        folder = HERE / "kernels" if self.inplace else Path(self.build_lib) / "radixlang" / "kernels"
        try:
            native.build(folder / native.library_name())
        except native.BuildFailed as error:
            logging.warning("the native CPU step is not built (%s); it will be at first use, or torch serves", error)

    def get_outputs(self) -> list[str]:
        return []


setup(
    script_name="setup.py",  # keeps this file out of the wheel: the root is a package
    package_dir={"radixlang": "."},  # runtime/engine.py is radixlang.runtime.engine
    packages=["radixlang"] + [f"radixlang.{p}" for f in FOLDERS for p in find_packages(include=[f, f"{f}.*"])],
    ext_modules=[Extension("radixlang.kernels._step", sources=[], optional=True)],  # compiled by BuildStep
    cmdclass={"build_ext": BuildStep},
)
