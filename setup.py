"""Generates the Python of src/proto/daiic.proto when the package is built or installed."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SCHEMA = "src/proto/daiic.proto"


class BuildWithSchema(build_py):
    """`build_py` that first writes daiic_pb2.py and its types beside the code that uses them."""

    def run(self) -> None:
        from grpc_tools import protoc

        out = ROOT / "src" / "daiic" / "wire"
        arguments = [
            "protoc",
            f"--proto_path={(ROOT / SCHEMA).parent}",
            f"--python_out={out}",
            f"--pyi_out={out}",
            Path(SCHEMA).name,
        ]
        if protoc.main(arguments) != 0:
            raise RuntimeError(f"{SCHEMA} does not compile; see protoc's message above")
        super().run()

    def get_source_files(self) -> list[str]:
        """Name the schema too, so that a source distribution has it."""
        return [*super().get_source_files(), SCHEMA]


setup(cmdclass={"build_py": BuildWithSchema})
