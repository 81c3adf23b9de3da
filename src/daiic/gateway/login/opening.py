"""The login as the settings say it."""

from pathlib import Path

from daiic.bounded_file import read_bounded
from daiic.gateway.login.admission import Admission
from daiic.gateway.login.bounded_http import BoundedHttp
from daiic.gateway.login.login import Login
from daiic.gateway.login.paths import CALLBACK
from daiic.gateway.login.provider import Provider
from daiic.gateway.login.tickets import Tickets, load_key
from daiic.gateway.settings import GatewaySettings
from daiic.service.settings import SettingsError

MAX_SECRET = 4096
"""Bytes of a file with the secret of a client of a login provider."""


def open_login(settings: GatewaySettings) -> Login:
    """Return the login through the provider that `settings` name.

    Raises:
        SettingsError: if the client's secret cannot be read.
    """
    secret = ""
    if settings.oidc_client_secret_file:
        file = Path(settings.oidc_client_secret_file)
        try:
            secret = read_bounded(file, MAX_SECRET).decode().strip()
        except OSError as error:
            raise SettingsError(f"oidc_client_secret_file {file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsError(f"oidc_client_secret_file {file} is not text") from None
    public_url = settings.public_url.rstrip("/")
    provider = Provider(
        settings.oidc_issuer,
        settings.oidc_client_id,
        secret,
        settings.oidc_scopes,
        public_url + CALLBACK,
        BoundedHttp(),
    )
    admission = Admission(
        settings.oidc_allowed_emails,
        settings.oidc_allowed_groups,
        settings.oidc_admin_groups,
        settings.oidc_groups_claim,
    )
    tickets = Tickets(load_key(settings.state_dir))
    return Login(provider, admission, tickets, public_url, settings.session_lifetime)
