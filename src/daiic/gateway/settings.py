"""What an operator can set for `daiic-gateway`."""

from typing import Annotated

from msgspec import Meta, field

from daiic.gateway.http.key_limits import AMOUNTS, KeyLimits, Limit
from daiic.gateway.login.safe_url import is_safe_url
from daiic.service.settings import (
    DaemonSettings,
    HostPort,
    LogLevel,
    Seconds,
    SettingsError,
    StatusAddress,
    default_state_dir,
)

MIB = 1 << 20

KeyLimit = Annotated[
    Limit,
    Meta(
        title="a number, 0 for no limit",
        description="for each API key without its own; 0 for no limit",
    ),
]


MediaHost = Annotated[
    str,
    Meta(
        pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$",
        title="a host, or host:port",
    ),
]


class GatewaySettings(DaemonSettings, frozen=True, kw_only=True):
    """The gateway of a DAIIC cluster: OpenAI's API over HTTP, and a web page."""

    listen: Annotated[HostPort, Meta(description="HTTP address of API and page")] = "127.0.0.1:7700"
    http_listen: StatusAddress = "127.0.0.1:7701"
    log_level: Annotated[
        LogLevel, Meta(description="info logs failed requests, debug all of them")
    ] = "info"
    heads: Annotated[
        tuple[HostPort, ...],
        Meta(
            min_length=1,
            title="a list of host:port",
            description="heads, in order of preference; it learns of others from them",
        ),
    ] = ("127.0.0.1:7717",)

    state_dir: Annotated[
        str,
        Meta(
            description='folder that keeps what keys used and results of benches; "" keeps nothing '
            "over a restart"
        ),
    ] = field(default_factory=default_state_dir)

    api_keys_file: Annotated[
        str, Meta(description='file with API keys (`daiic apikey create`); "" needs none')
    ] = ""
    name_clients: Annotated[
        bool, Meta(description="tell heads the names of API keys, for their policies")
    ] = False
    allow_keyless_public: Annotated[
        bool, Meta(description="serve other machines even without API keys")
    ] = False
    requests_per_minute: KeyLimit = 0
    requests_per_day: KeyLimit = 0
    tokens_per_minute: KeyLimit = 0
    tokens_per_day: KeyLimit = 0
    concurrent_requests: KeyLimit = 0
    usage_days: Annotated[
        int,
        Meta(
            ge=1,
            le=3660,
            title="a number of days, 1 to 3660",
            description="days for which it is kept what each key used",
        ),
    ] = 400

    oidc_issuer: Annotated[
        str,
        Meta(
            pattern=r"^$|^https?://[^/?#]+[^?#]*$",
            title='an https URL without query, or ""',
            description="OpenID Connect provider through which people log in to the page; "
            '"" is none',
        ),
    ] = ""
    oidc_client_id: Annotated[
        str, Meta(description="as which client the provider knows this gateway")
    ] = ""
    oidc_client_secret_file: Annotated[
        str, Meta(description='file with the secret of that client; "" for a client without one')
    ] = ""
    oidc_scopes: Annotated[
        tuple[str, ...], Meta(description="what the provider is asked to tell; openid is needed")
    ] = ("openid", "email", "profile")
    oidc_allowed_emails: Annotated[
        tuple[str, ...],
        Meta(
            description='who may log in: addresses, "@" and a domain, or "*" for all whom the '
            "provider lets in"
        ),
    ] = ()
    oidc_allowed_groups: Annotated[
        tuple[str, ...], Meta(description="groups whose members may log in")
    ] = ()
    oidc_admin_groups: Annotated[
        tuple[str, ...],
        Meta(description="groups whose members may log in, and may all that keys can be allowed"),
    ] = ()
    oidc_groups_claim: Annotated[
        str, Meta(min_length=1, title="a name", description="claim that has a person's groups")
    ] = "groups"
    session_lifetime: Annotated[
        float,
        Meta(
            gt=0,
            le=30 * 86400,
            title="a number of seconds above 0, at most 30 days",
            description="seconds after which people have to log in again",
        ),
    ] = 43200.0

    cors_origins: Annotated[
        tuple[str, ...],
        Meta(description='origins of web pages that may call the API; "*" for all'),
    ] = ()
    public_url: Annotated[
        str,
        Meta(
            pattern=r"^$|^https?://[^/]+",
            title="an http or https URL",
            description="URL by which clients reach this gateway behind a proxy",
        ),
    ] = ""
    allowed_media_hosts: Annotated[
        tuple[MediaHost, ...],
        Meta(
            title="a list of hosts, or host:port",
            description="hosts from which images are fetched that requests name by URL; an address "
            "of your own network only if it is named itself",
        ),
    ] = ()
    max_body_bytes: Annotated[
        int,
        Meta(ge=1024, title="bytes, at least 1024", description="bytes in a request body at most"),
    ] = 32 * MIB
    request_timeout: Annotated[Seconds, Meta(description="seconds that one request may take")] = (
        600.0
    )
    image_ttl: Annotated[
        Seconds, Meta(description="seconds for which an image can be fetched by URL")
    ] = 3600.0
    image_store_bytes: Annotated[
        int,
        Meta(ge=MIB, title="bytes, at least 1 MiB", description="bytes of memory for those images"),
    ] = 256 * MIB

    def __post_init__(self) -> None:
        if "*" in self.cors_origins and len(self.cors_origins) > 1:
            raise SettingsError('cors_origins: name origins, or "*" alone')
        if self.oidc_issuer:
            self._check_login()

    def _check_login(self) -> None:
        if not is_safe_url(self.oidc_issuer):
            raise SettingsError("oidc_issuer: must be an https URL, or one on this machine")
        if not self.oidc_client_id:
            raise SettingsError("oidc_issuer: needs oidc_client_id, which the provider gives")
        if not self.public_url:
            raise SettingsError(
                "oidc_issuer: needs public_url, to which the provider sends browsers back"
            )
        if "openid" not in self.oidc_scopes:
            raise SettingsError("oidc_scopes: openid is missing")
        if not (self.oidc_allowed_emails or self.oidc_allowed_groups or self.oidc_admin_groups):
            raise SettingsError(
                "oidc_issuer: say who may log in, with oidc_allowed_emails or oidc_allowed_groups; "
                'oidc_allowed_emails = ["*"] lets in all whom the provider does'
            )

    @property
    def key_limits(self) -> KeyLimits:
        """What holds for keys without limits of their own."""
        return KeyLimits(**{name: getattr(self, name) for name in AMOUNTS})


CHANGEABLE = frozenset({"max_body_bytes", "request_timeout", "log_level", *AMOUNTS})
"""What SIGHUP can change; the rest needs a restart."""
