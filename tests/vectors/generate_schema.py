"""Writes what a released schema says, so that later ones can be held against it.

The file has the schema's descriptors and, for each of its messages, one with every field set, as
bytes and as JSON. It is written once, when a version is released, and never changed:

    python tests/vectors/generate_schema.py VERSION daiic.proto

for VERSION's own daiic.proto. 0.1.0's is that of commit 5c646d0.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

DEEP = 8
"""Messages within messages that are set."""

INTEGERS = {FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_INT32}
LARGE_INTEGERS = {FieldDescriptor.CPPTYPE_UINT64, FieldDescriptor.CPPTYPE_INT64}
FRACTIONS = {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}


def class_of(pool: DescriptorPool, name: str) -> type[Message]:
    """Return the class of a message that `pool` has under its full name."""
    return GetMessageClass(pool.FindMessageTypeByName(name))


def pool_of(files: descriptor_pb2.FileDescriptorSet) -> DescriptorPool:
    """Return a pool that has these files and no other."""
    pool = DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


def set_field(message: Message, field: FieldDescriptor, depth: int = 0) -> None:
    """Give `field` a value that follows from its name and number; a list gets two."""
    for which in range(2 if field.is_repeated else 1):
        if field.message_type is None:
            value = _scalar(field, which)
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
        elif field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields
            getattr(message, field.name)[_scalar(key, which)] = _scalar(value, which)
        else:
            inner = getattr(message, field.name)
            inner = inner.add() if field.is_repeated else inner
            inner.SetInParent()
            if depth < DEEP:
                set_fields(inner, depth=depth + 1)


def set_fields(message: Message, alternative: int = 0, depth: int = 0) -> None:
    """Give every field a value, and of each oneof the alternative of that number, or the last."""
    for field in message.DESCRIPTOR.fields:
        oneof = field.containing_oneof
        if oneof is None or oneof.fields[min(alternative, len(oneof.fields) - 1)] is field:
            set_field(message, field, depth)


def alternatives(descriptor: Descriptor) -> int:
    """Return how many messages it takes to set every field of a message at least once."""
    return max((len(oneof.fields) for oneof in descriptor.oneofs), default=1)


def _scalar(field: FieldDescriptor, which: int) -> Any:
    number = field.number + 100 * which
    kind = field.cpp_type
    if kind in INTEGERS:
        return 1000 + number
    if kind in LARGE_INTEGERS:
        return (1 << 40) + number
    if kind in FRACTIONS:
        return number + 0.25
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return True
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return field.enum_type.values[-1 - which].number
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes([0, 255, number])
    return f"{field.full_name} {which}"


def messages(pool: DescriptorPool, file: descriptor_pb2.FileDescriptorProto) -> Iterator[Any]:
    """Yield each message of `file` as the vectors have it."""
    for message_type in file.message_type:
        kind = class_of(pool, f"{file.package}.{message_type.name}")
        for alternative in range(alternatives(kind.DESCRIPTOR)):
            message = kind()
            set_fields(message, alternative)
            yield {
                "message": message_type.name,
                "bytes": message.SerializeToString(deterministic=True).hex(),
                "json": json_format.MessageToDict(message),
            }


def compiled(proto: Path) -> descriptor_pb2.FileDescriptorSet:
    """Return the descriptors of a schema."""
    from grpc_tools import protoc

    with tempfile.NamedTemporaryFile() as out:
        arguments = ["protoc", f"--proto_path={proto.parent}", f"--descriptor_set_out={out.name}"]
        if protoc.main([*arguments, proto.name]):
            sys.exit(f"{proto} does not compile")
        return descriptor_pb2.FileDescriptorSet.FromString(Path(out.name).read_bytes())


def main() -> None:
    """Write `schema-VERSION.json` beside this file."""
    version, proto = sys.argv[1:]
    files = compiled(Path(proto).absolute())
    pool = pool_of(files)
    written = {
        "about": f"The schema of DAIIC {version}, and messages as it writes them, bytes in hex. "
        "Written by tests/vectors/generate_schema.py; a released version's never changes.",
        "version": version,
        "descriptors": json_format.MessageToDict(files),
        "messages": [message for file in files.file for message in messages(pool, file)],
    }
    target = Path(__file__).with_name(f"schema-{version}.json")
    target.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
