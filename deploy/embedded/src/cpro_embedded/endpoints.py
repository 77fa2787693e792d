"""Where the servers answer: all that a process needs to know to use them."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses and credentials of one running set of servers.

    Attributes:
        postgres_clusters: Cluster name to its URL without a database, `postgresql://user:password@host:port`.
        kafka_bootstrap: `host:port`.
        s3_endpoint: `host:port`, as the `minio` client takes it.
        s3_access_key: Access key of an identity that may do everything.
        s3_secret_key: Its secret.
        s3_secure: Whether S3 is spoken over TLS.
        oidc_issuer: Issuer URL; `/.well-known/openid-configuration` and `/jwks.json` hang below it.
        oidc_audience: What the tokens' `aud` says.
    """

    postgres_clusters: Mapping[str, str]
    kafka_bootstrap: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    oidc_issuer: str
    oidc_audience: str
    s3_secure: bool = False
