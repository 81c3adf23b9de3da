"""What a released version wrote means the same today, and it reads what today's programs write."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from daiic.wire import daiic_pb2 as pb
from vectors import generate_schema

FILES = sorted(Path(generate_schema.__file__).parent.glob("schema-*.json"))
RELEASED: dict[str, Any] = {
    file.stem.removeprefix("schema-"): json.loads(file.read_text("utf-8")) for file in FILES
}
POOLS = {
    version: generate_schema.pool_of(
        json_format.ParseDict(said["descriptors"], descriptor_pb2.FileDescriptorSet())
    )
    for version, said in RELEASED.items()
}


def written() -> list[Any]:
    """Return every message that a released version wrote."""
    return [
        pytest.param(case, id=f"{version}-{number}-{case['message']}")
        for version, said in RELEASED.items()
        for number, case in enumerate(said["messages"])
    ]


def released(kind: str) -> list[Any]:
    """Return the descriptors of all messages, or of all enums, of released versions."""
    found = {"message": [], "enum": []}
    for version, said in RELEASED.items():
        for file in said["descriptors"]["file"]:
            for name in (m["name"] for m in file["messageType"]):
                full = POOLS[version].FindMessageTypeByName(f"{file['package']}.{name}")
                found["message"].append(pytest.param(full, id=f"{version}-{name}"))
            for name in (e["name"] for e in file["enumType"]):
                full = POOLS[version].FindEnumTypeByName(f"{file['package']}.{name}")
                found["enum"].append(pytest.param(full, id=f"{version}-{name}"))
    return found[kind]


def meaning(message: Message, known: Descriptor) -> dict[str, Any]:
    """Return what is set in `message`, as far as `known` has fields of these names."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        old = known.fields_by_name.get(field.name)
        if old is None:
            continue
        if field.message_type is None:
            found[field.name] = list(value) if field.is_repeated else value
        elif field.message_type.GetOptions().map_entry:
            found[field.name] = dict(value)
        elif field.is_repeated:
            found[field.name] = [meaning(item, old.message_type) for item in value]
        else:
            found[field.name] = meaning(value, old.message_type)
    return found


def nature(field: FieldDescriptor) -> tuple[object, ...]:
    """Return what of a field its bytes and its JSON depend on."""
    inner = field.message_type or field.enum_type
    oneof = field.containing_oneof
    return (
        field.name,
        field.number,
        field.json_name,
        field.type,
        field.is_repeated,
        field.has_presence,
        inner.full_name if inner else None,
        oneof.name if oneof else None,
    )


def test_there_is_a_released_version() -> None:
    assert "0.1.0" in RELEASED


@pytest.mark.parametrize("case", written())
def test_bytes_and_json_of_a_released_version_mean_the_same_today(case: Any) -> None:
    kind = getattr(pb, case["message"])
    message = kind.FromString(bytes.fromhex(case["bytes"]))
    assert json_format.MessageToDict(message) == case["json"]
    assert json_format.ParseDict(case["json"], kind()) == message
    assert message.SerializeToString(deterministic=True).hex() == case["bytes"]


@pytest.mark.parametrize("old", released("message"))
def test_no_field_has_changed_or_gone_without_a_trace(old: Descriptor) -> None:
    new = getattr(pb, old.name).DESCRIPTOR
    today = descriptor_pb2.DescriptorProto()
    new.CopyToProto(today)
    for field in old.fields:
        if field.number in new.fields_by_number:
            assert nature(new.fields_by_number[field.number]) == nature(field)
        else:
            reserved = any(r.start <= field.number < r.end for r in today.reserved_range)
            assert reserved and field.name in today.reserved_name, (
                f"{field.full_name} has gone: reserve {field.number} and its name"
            )


@pytest.mark.parametrize("old", released("enum"))
def test_no_value_of_an_enum_has_changed_or_gone(old: EnumDescriptor) -> None:
    new = pb.DESCRIPTOR.enum_types_by_name[old.name]
    values = {value.name: value.number for value in new.values}
    assert {value.name: values.get(value.name) for value in old.values} == {
        value.name: value.number for value in old.values
    }


@pytest.mark.parametrize("old", released("message"))
def test_each_field_written_today_is_read_by_a_released_version_or_ignored(old: Descriptor) -> None:
    kind = getattr(pb, old.name)
    read = generate_schema.GetMessageClass(old)
    for field in kind.DESCRIPTOR.fields:
        message = kind()
        generate_schema.set_field(message, field)
        heard = read.FromString(message.SerializeToString())
        assert meaning(heard, old) == meaning(message, old), field.full_name
        assert (field.name in meaning(heard, old)) == (field.name in old.fields_by_name)
