"""The mesh protocol: DCF's 17-byte header over UDP, made reliable and private.

Everything here but `udp` and `udp_socket` is sans-IO: state machines that take
bytes and the time and give bytes and events. `docs/transport.md` is the specification;
`endpoint` is where to start reading.
"""
