"""Generates the Python of src/proto/daiic.proto when the package is built or installed."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithSchema(build_py):
    """`build_py` that first writes daiic_pb2.py and its types beside the code that uses them."""

    def run(self) -> None:
        from grpc_tools import protoc

        out = ROOT / "src" / "daiic" / "wire"
        arguments = [
            "protoc",
            f"--proto_path={ROOT / 'src' / 'proto'}",
            f"--python_out={out}",
            f"--pyi_out={out}",
            "daiic.proto",
        ]
        if protoc.main(arguments) != 0:
            raise RuntimeError("src/proto/daiic.proto does not compile; see protoc's message above")
        super().run()


setup(cmdclass={"build_py": BuildWithSchema})
