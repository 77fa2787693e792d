"""What the development stack runs, by what it is given."""

from cpro_embedded.endpoints import Endpoints
from cpro_embedded.services import Installation, settings_work
from cpro_settings.bootstrap import Work

ENDPOINTS = Endpoints(
    postgres_clusters={"north": "postgresql://cpro:secret@127.0.0.1:5432"},
    kafka_bootstrap="127.0.0.1:9092",
    s3_endpoint="127.0.0.1:8333",
    s3_access_key="cpro",
    s3_secret_key="secret",
    oidc_issuer="http://127.0.0.1:8180",
    oidc_audience="cpro",
)


def test_no_mail_is_sent_unless_a_mail_server_is_named() -> None:
    installation = Installation.fresh(ENDPOINTS)

    assert installation.settings.smtp.host == ""
    assert settings_work(installation) == Work.RELAY


def test_with_a_mail_server_the_other_process_sends_to_it() -> None:
    installation = Installation.of_json(Installation.fresh(ENDPOINTS, smtp_port=1025).to_json())

    assert (installation.settings.smtp.host, installation.settings.smtp.port) == ("127.0.0.1", 1025)
    assert settings_work(installation) == Work.RELAY | Work.NOTIFY
