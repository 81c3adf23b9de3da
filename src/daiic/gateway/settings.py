"""What an operator can set for `daiic-gateway`."""

from typing import Annotated

from msgspec import Meta

from daiic.service.settings import (
    DaemonSettings,
    HostPort,
    LogLevel,
    Seconds,
    SettingsError,
    StatusAddress,
)

MIB = 1 << 20


class GatewaySettings(DaemonSettings, frozen=True, kw_only=True):
    """The HTTP face of a DAIIC cluster: OpenAI's API and a page for people."""

    listen: Annotated[HostPort, Meta(description="where HTTP is served")] = "127.0.0.1:7700"
    http_listen: StatusAddress = "127.0.0.1:7701"
    log_level: Annotated[LogLevel, Meta(description="info logs requests that fail, debug all")] = (
        "info"
    )
    heads: Annotated[
        tuple[HostPort, ...],
        Meta(
            min_length=1,
            title="a list of host:port",
            description="heads, the preferred first; others are learned",
        ),
    ] = ("127.0.0.1:7717",)

    api_keys_file: Annotated[
        str, Meta(description='keys that clients must send (`daiic apikey create`); "": none')
    ] = ""
    allow_keyless_public: Annotated[
        bool, Meta(description="listen beyond loopback although no API key is needed")
    ] = False
    requests_per_minute: Annotated[
        int, Meta(ge=0, title="a number, 0 for no limit", description="per API key; 0: no limit")
    ] = 0
    concurrent_requests: Annotated[
        int, Meta(ge=0, title="a number, 0 for no limit", description="per API key; 0: no limit")
    ] = 0

    cors_origins: Annotated[
        tuple[str, ...],
        Meta(description='web origins that may call the API from a browser; "*" for all'),
    ] = ()
    public_url: Annotated[
        str,
        Meta(
            pattern=r"^$|^https?://[^/]+",
            title="an http or https URL",
            description="how clients reach this gateway, if a proxy stands before it",
        ),
    ] = ""
    max_body_bytes: Annotated[
        int, Meta(ge=1024, title="bytes, at least 1024", description="largest request body")
    ] = 4 * MIB
    request_timeout: Annotated[Seconds, Meta(description="for one whole request")] = 600.0
    image_ttl: Annotated[
        Seconds, Meta(description="how long images asked for as URL can be fetched")
    ] = 3600.0
    image_store_bytes: Annotated[
        int, Meta(ge=MIB, title="bytes, at least 1 MiB", description="memory for such images")
    ] = 256 * MIB

    def __post_init__(self) -> None:
        if "*" in self.cors_origins and len(self.cors_origins) > 1:
            raise SettingsError('cors_origins: name origins, or "*" alone')


CHANGEABLE = frozenset(
    {
        "max_body_bytes",
        "request_timeout",
        "requests_per_minute",
        "concurrent_requests",
        "log_level",
    }
)
"""What SIGHUP can change; the rest needs a restart."""
