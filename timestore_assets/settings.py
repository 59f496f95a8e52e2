"""The settings: environment variables `TIMESTORE_*`, with their reasons. `docs/configuration.md` is generated from here."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from timestore_assets.dagster_project import project_around
from timestore_assets.model.errors import InputError
from timestore_assets.model.target import Driver

if TYPE_CHECKING:
    from timestore_assets.model.allowances import Allowances

_ROOT = Path(__file__).parent.parent


def _default_home() -> Path:
    """`.timestore/` in the Dagster project around the working directory, in the checkout of this package, or right here."""
    project = project_around(Path.cwd())
    if project is not None:
        return project.root / ".timestore"
    return (_ROOT if is_checkout(_ROOT) else Path.cwd()) / ".timestore"


def is_checkout(folder: Path) -> bool:
    """Whether a folder is a checkout of this package, the one that this process runs from."""
    return folder == _ROOT and (folder / "timestore_assets_tests").is_dir()


class Settings(BaseModel):
    """What a deployment sets. Every field is the environment variable `TIMESTORE_<NAME>`; nothing is read from files."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    home: Path = Field(
        default_factory=_default_home,
        description="Embedded catalog, local data, Dagster home and watched prefixes; nothing is written anywhere else.",
    )
    file_access: Literal["private", "group", "umask"] = Field(
        "private",
        description="Who may read what is written on this machine: `private`, its user alone; `group`, its group too; `umask`, "
        "whoever the process's umask lets.",
    )
    defs: str = Field("", description="More folders of declarations (each holding `*/defs.yaml`), separated as in PATH.")
    database_url: SecretStr | None = Field(
        None, description="Catalog database, `postgresql://…`; SQLite in TIMESTORE_HOME by default. May hold a password."
    )
    pg_schema: str = Field("timestore", pattern=r"^[a-z_][a-z0-9_]*$", description="PostgreSQL schema of the catalog's tables.")
    database_url_secret: str | None = Field(
        None,
        description="Name of the AWS Secrets Manager entry with the database URL, or with RDS's JSON; what that leaves out is "
        "taken from TIMESTORE_DATABASE_URL.",
    )
    database_read_url: SecretStr | None = Field(
        None,
        description="Read replica of the catalog database, for planning queries; what it lacks is read from the primary.",
    )
    database_pool_size: int = Field(8, ge=1, description="Connections to PostgreSQL that a process keeps.")
    database_pool_overflow: int = Field(64, ge=0, description="Further connections while all of those are busy.")
    database_statement_timeout_seconds: int = Field(
        120, ge=1, description="Time limit of one statement on PostgreSQL, so that none holds the catalog for ever."
    )
    storage_driver: Driver = Field("local", description="Where segments live: `local`, `s3`, `gcs` or `azure_blob`.")
    storage_root: str | None = Field(
        None, description="Folder of the local driver (`data` in TIMESTORE_HOME by default), or a prefix inside the bucket."
    )
    storage_targets: str = Field(
        "",
        description="More storage targets, as a JSON object of name to {driver, root, bucket, endpoint, region, path_style, "
        "account, secret}; a dataset names one by `storage:`.",
    )
    storage_timeout_seconds: int = Field(30, ge=1, description="How long an object store may take for one answer.")
    storage_retry_seconds: int = Field(
        60, ge=0, description="How long requests to an object store are tried again, with growing, jittered pauses."
    )
    storage_concurrency: int = Field(8, ge=1, description="Requests to an object store at a time, of one call.")
    storage_part_bytes: int = Field(
        16_000_000, ge=5_242_880, description="Part of a multipart upload; smaller objects go up in one request."
    )
    s3_bucket: str | None = Field(None, description="Bucket of the s3 driver.")
    s3_endpoint: str | None = Field(None, description="`http(s)://…` of an S3-compatible store; Amazon's by default.")
    s3_region: str | None = Field(None, description="Region of the bucket; AWS_REGION by default.")
    s3_path_style: bool | None = Field(
        None, description="Whether the bucket is named in the path; true with an endpoint, else false, by default."
    )
    s3_secret: str | None = Field(
        None,
        description="Name of the AWS Secrets Manager entry with `access_key_id` and `secret_access_key` (and `session_token`); "
        "the platform's own chain by default.",
    )
    gcs_bucket: str | None = Field(None, description="Bucket of the gcs driver.")
    gcs_endpoint: str | None = Field(None, description="`http(s)://…` of a GCS-compatible store; Google's by default.")
    azure_container: str | None = Field(None, description="Container of the azure_blob driver.")
    azure_account: str | None = Field(None, description="Storage account; AZURE_STORAGE_ACCOUNT_NAME by default.")
    azure_endpoint: str | None = Field(None, description="`http(s)://…` of a compatible store; Azure's by default.")
    query_cache_dir: Path | None = Field(
        None, description="Folder of the read cache of object stores; `cache` in TIMESTORE_HOME by default."
    )
    query_cache_max_bytes: int = Field(
        10_000_000_000, ge=0, description="Size of the read cache; what was not used for longest goes first."
    )
    query_range_bytes: int = Field(
        8_000_000,
        ge=0,
        description="Parquet segments in object stores from this size on are read by ranges when few columns are asked for.",
    )
    memory: int = Field(
        1_000_000_000,
        ge=64_000_000,
        description="Bytes that DuckDB may use in one landing, build or query before it spills to disk.",
    )
    threads: int | None = Field(
        None, ge=1, description="Threads of one landing, build or query; by default the cores that the process may run on."
    )
    bulk_chunk_bytes: int = Field(
        2_000_000_000,
        ge=1_000_000,
        description="Files larger than this are landed as parts of about this size, each with a checkpoint of its own.",
    )
    bulk_commit_bytes: int = Field(
        1_000_000_000,
        ge=1_000_000,
        description="Arrow data of a large file that one commit gathers, so that few segments are written.",
    )
    bulk_parallel: int = Field(2, ge=1, description="Files or parts of files that one landing works on at a time.")
    bulk_runs: int = Field(4, ge=1, description="Dagster runs that one drop is spread over at most.")
    bulk_run_bytes: int = Field(20_000_000_000, ge=1, description="Bytes of a drop that ask for one more run.")
    partition_build_attempts: int = Field(5, ge=1, description="How often Dagster tries a failing build.")
    partition_build_backoff_ms: int = Field(15_000, ge=0, description="Pause before the next try of a build, doubled each time.")
    partition_build_concurrency: int = Field(2, ge=1, description="Build runs at a time, over all datasets (Dagster pool).")
    sensor_interval_seconds: int = Field(5, ge=1, description="How often the sensors look at watched prefixes and partitions.")
    dagster_reload_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/@]+(/[^\s?#]*)?$",
        description="Address of Dagster's webserver (`http://host:3000`), which a code location asks to load it anew when "
        "declarations have changed; without it somebody has to press Reload.",
    )
    gc_grace_seconds: int = Field(3600, ge=0, description="Age at which files that no manifest names may be collected.")
    keep_versions_seconds: int = Field(
        7 * 86400, ge=0, description="How long superseded segments stay for `--as-of`, rollback and running readers."
    )
    audit_keep_seconds: int = Field(
        90 * 86400,
        ge=0,
        description="How long `timestore gc` leaves it in the audit that a batch landed or a partition was built; what "
        "people did stays.",
    )
    ledger_keep_seconds: int = Field(
        30 * 86400,
        ge=86400,
        description="How long `timestore gc` leaves ended sessions, dead letters that a replay has settled, lost offsets that "
        "were accepted, and events that no Dagster fetched.",
    )
    key_keep_seconds: int | None = Field(
        None,
        ge=86400,
        description="How long idempotency keys are known, at least TIMESTORE_INGEST_KEEP_SECONDS; records that come again "
        "afterwards land again. For ever by default.",
    )
    kafka_bootstrap_servers: str | None = Field(
        None, description="`host:port` list of the Kafka cluster; by default the one `timestore broker` runs for this home."
    )
    kafka_security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        "plaintext", description="How to talk to the brokers."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "PLAIN", description="How to log in, with a `sasl_…` protocol."
    )
    kafka_sasl_username: str | None = Field(None, description="User of PLAIN and SCRAM.")
    kafka_sasl_password: SecretStr | None = Field(None, description="Password of PLAIN and SCRAM. Never shown.")
    kafka_oauth_token_url: str | None = Field(None, description="Token endpoint of OAUTHBEARER (OpenID Connect).")
    kafka_oauth_client_id: str | None = Field(None, description="Client id of OAUTHBEARER.")
    kafka_oauth_client_secret: SecretStr | None = Field(None, description="Client secret of OAUTHBEARER. Never shown.")
    kafka_oauth_scope: str | None = Field(None, description="Scope of OAUTHBEARER.")
    kafka_ssl_ca_file: Path | None = Field(None, description="Certificates (PEM) that the brokers' are checked with.")
    kafka_ssl_certificate_file: Path | None = Field(None, description="Our certificate (PEM), for brokers that ask for one.")
    kafka_ssl_key_file: Path | None = Field(None, description="Its key (PEM).")
    kafka_ssl_key_password: SecretStr | None = Field(None, description="The key's password. Never shown.")
    stream_session_seconds: int = Field(900, ge=1, description="How long a session that a sensor started reads topics at most.")
    stream_lag_per_session: int = Field(
        2_000_000, ge=1, description="Records of lag that ask for one more session, with `shards: auto`."
    )
    stream_sessions: int = Field(4, ge=1, description="Most sessions at a time on one source, with `shards: auto`.")
    backlog_high_deltas: int = Field(2000, ge=1, description="Unbuilt delta segments at which landing a dataset's topics pauses.")
    backlog_low_deltas: int = Field(1000, ge=0, description="Unbuilt delta segments below which it goes on.")
    backlog_high_bytes: int = Field(8_000_000_000, ge=1, description="Unbuilt bytes at which landing a dataset's topics pauses.")
    backlog_low_bytes: int = Field(4_000_000_000, ge=0, description="Unbuilt bytes below which it goes on.")
    backlog_high_builds: int = Field(500, ge=1, description="Partitions waiting for a build at which landing topics pauses.")
    backlog_low_builds: int = Field(100, ge=0, description="Partitions waiting for a build below which it goes on.")
    backlog_high_commit_ms: int = Field(
        10_000, ge=1, description="Milliseconds that a commit takes at which landing topics pauses."
    )
    backlog_pause_seconds: int = Field(5, ge=1, description="How long landing pauses before it looks again.")
    sql_timeout_seconds: int = Field(60, ge=1, description="Time limit of an SQL statement and of a query over HTTP.")
    sql_answers_bytes: int = Field(
        64_000_000,
        ge=0,
        description="Memory for answers of SQL that are kept for who asks the same of the same versions again; 0 keeps none.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What the HTTP service logs, as JSON lines; never a payload."
    )
    serve_host: str = Field("127.0.0.1", description="Address that the HTTP service listens on; only this machine by default.")
    upload_bytes: int = Field(
        256_000_000, ge=1_000, description="Size of a file that an administrator uploads to the HTTP service at most."
    )
    dagster_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s]+$",
        description="Address of the Dagster UI, which the page of the HTTP service then links to; `timestore dev` sets it.",
    )
    serve_port: int = Field(4100, ge=1, le=65535, description="Port of the HTTP service.")
    flight_address: str | None = Field(
        None, description="`HOST:PORT` that the service takes Arrow Flight SQL on (ADBC, JDBC), beside HTTP; nowhere by default."
    )
    http_connections: int = Field(
        1_000, ge=1, description="Connections to the HTTP service at a time; beyond, those that wait longest are closed."
    )
    http_url_bytes: int = Field(8_192, ge=256, description="Bytes of a request's address at most.")
    http_headers: int = Field(100, ge=10, description="Headers of a request at most.")
    http_header_bytes: int = Field(32_768, ge=1_024, description="Bytes of all headers of a request at most.")
    http_head_seconds: int = Field(10, ge=1, description="How long the headers of a request may take to arrive.")
    http_body_seconds: int = Field(20, ge=1, description="How long a body may bring nothing, or less than the slowest rate.")
    http_body_rate: int = Field(1_000, ge=0, description="Bytes a second that a body brings in the mean at least.")
    http_idle_seconds: int = Field(5, ge=1, description="How long a connection is kept open for a next request.")
    serve_merge_deltas: int = Field(
        64, ge=0, description="Small delta segments of an open partition that the HTTP service merges by itself; 0: never."
    )
    require_scope: str = Field(
        "timestore:read", min_length=1, description="Scope that reads datasets which declare no `access: read`."
    )
    require_write_scope: str = Field(
        "timestore:write", min_length=1, description="Scope that writes datasets which declare no `access: write`."
    )
    admin_scope: str = Field("timestore:admin", min_length=1, description="Scope that may do everything.")
    trusted_proxies: str = Field(
        "",
        description="Addresses or networks, separated by commas, whose `x-iam-user` and `x-iam-scopes` headers are believed.",
    )
    jwks_url: str | None = Field(
        None, description="Keys (JWKS) that JSON Web Tokens are checked with; none are taken by default."
    )
    jwt_issuer: str | None = Field(None, description="Issuer that a JSON Web Token must name.")
    jwt_audience: str | None = Field(None, description="Audience that a JSON Web Token must name.")
    http_declare_prefixes: str = Field(
        "inbox/{dataset}/*",
        description="Folders and bucket prefixes that a declaration over HTTP may watch: patterns separated by commas, `*` for "
        "anything, `{dataset}` for its own name.",
    )
    http_declare_topics: str = Field("", description="Topics that a declaration over HTTP may read, likewise; none by default.")
    http_declare_groups: str = Field(
        "timestore-{dataset}", description="Consumer groups whose offsets it may move, likewise; its own by default."
    )
    http_declare_dead_letter_topics: str = Field(
        "", description="Topics that it may send dead letters to, likewise; none by default."
    )
    http_declare_targets: str = Field("default", description="Storage targets that it may choose, likewise.")
    ingest_linger_ms: int = Field(
        20, ge=0, description="How long a request waits for others to share its commit, when no commit is under way."
    )
    ingest_commit_rows: int = Field(200_000, ge=1, description="Rows of one commit of HTTP requests at most.")
    ingest_commit_bytes: int = Field(64_000_000, ge=1, description="Bytes of one commit of HTTP requests at most.")
    ingest_body_bytes: int = Field(64_000_000, ge=1, description="Bytes of a request's body at most, decompressed.")
    ingest_buffer_requests: int = Field(1_000, ge=1, description="Requests of a dataset that may wait to be landed.")
    ingest_buffer_rows: int = Field(1_000_000, ge=1, description="Their rows at most.")
    ingest_buffer_bytes: int = Field(128_000_000, ge=1, description="Their bytes at most.")
    ingest_total_requests: int = Field(4_000, ge=1, description="Requests of all datasets that may wait to be landed.")
    ingest_total_rows: int = Field(4_000_000, ge=1, description="Their rows at most.")
    ingest_total_bytes: int = Field(384_000_000, ge=1, description="Their bytes at most.")
    ingest_keep_seconds: int = Field(
        7 * 86400, ge=60, description="How long the answer to a request with an Idempotency-Key, or an asynchronous one, is kept."
    )
    query_max_rows: int = Field(
        5_000_000, ge=1, description="Rows that a query over HTTP may give; wider ones are refused with what would do."
    )
    query_max_buckets: int = Field(100_000, ge=1, description="Buckets of time that a downsampled query over HTTP may span.")
    query_concurrency: int = Field(4, ge=1, description="Queries that the HTTP service computes at the same time.")
    query_waiting: int = Field(64, ge=0, description="Queries that may wait for one of those; more are answered 429.")
    hot_rows: int = Field(
        500_000, ge=0, description="Rows of a dataset's topics, not landed yet, that queries may merge; 0: none."
    )
    hot_bytes: int = Field(128_000_000, ge=1, description="Their bytes at most.")
    hot_seconds: int = Field(
        900, ge=1, description="How long the service goes on tailing the topics of a dataset nobody asks about."
    )
    hot_fallback: Literal["parquet_only", "error"] = Field(
        "parquet_only", description="What a query gets while the brokers are away: what is landed, with a warning, or an error."
    )
    alert_channels: SecretStr | None = Field(
        None,
        description="Where alerts go: a JSON object of name to address, `https://…` for a webhook, `slack+https://…` for Slack's "
        "incoming webhook, `smtp://user:password@host:587/?from=…&to=…` or `smtps://…` for mail.",
    )
    alert_secret: SecretStr | None = Field(
        None, description="Key that webhooks are signed with (`X-Timestore-Signature`, HMAC-SHA256 of the body)."
    )
    alert_run_failures: str = Field("", description="Channels, separated by commas, that are told of failed Dagster runs.")
    alert_interval_seconds: int = Field(30, ge=1, description="How often the conditions of alerts are looked at.")
    openlineage: SecretStr | None = Field(
        None,
        description="Where OpenLineage events of landings and builds go: `https://host` (its `/api/v1/lineage`, or the path "
        "given), `file:///path/events.jsonl`, or `kafka://host:port/topic`; without a host the deployment's brokers. May hold "
        "a password.",
    )
    openlineage_api_key: SecretStr | None = Field(None, description="Bearer token that an HTTP receiver wants. Never shown.")
    openlineage_namespace: str = Field(
        "timestore", min_length=1, max_length=200, description="Namespace of this warehouse's jobs and datasets in those events."
    )
    otlp_endpoint: str | None = Field(
        None, description="OpenTelemetry collector (OTLP over HTTP) that traces are sent to; none by default."
    )

    @model_validator(mode="before")
    @classmethod
    def _with_environment(cls, given: Any) -> Any:
        """What was not given is the environment's.

        Each field is one text there, so that this is all of it: pydantic-settings would import asyncio, SSL and argparse before
        every command.
        """
        texts = {name.lower(): text for name, text in os.environ.items()}
        found = {name: texts[f"timestore_{name}"] for name in cls.model_fields if f"timestore_{name}" in texts}
        return {**found, **given} if isinstance(given, dict) else given

    @classmethod
    def load(cls) -> Settings:
        """The settings of this process's environment.

        Raises:
            InputError: naming the variable that is wrong and what it takes.
        """
        try:
            return cls()
        except ValidationError as error:
            finding = error.errors(include_input=False)[0]
            name = "TIMESTORE_" + str(finding["loc"][0]).upper()
            raise InputError(f"{name}: {finding['msg'][:1].lower()}{finding['msg'][1:]}") from None

    @property
    def home_folder(self) -> Path:
        return self.home.expanduser().absolute()

    @property
    def data_folder(self) -> Path:
        """Root of the default target when it is local."""
        return (Path(self.storage_root) if self.storage_root else self.home_folder / "data").expanduser().absolute()

    @property
    def cache_folder(self) -> Path:
        return (self.query_cache_dir or self.home_folder / "cache").expanduser().absolute()

    @property
    def dagster_home(self) -> Path:
        return self.home_folder / "dagster"

    @property
    def catalog_url(self) -> str:
        """Without a secret of AWS Secrets Manager, which `catalog.open_catalog` looks up."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.home_folder / 'catalog.sqlite'}"

    @property
    def is_on_postgres(self) -> bool:
        """Whether the catalog is no file of this machine."""
        return self.database_url_secret is not None or not self.catalog_url.startswith("sqlite")

    @property
    def declaration_folders(self) -> tuple[Path, ...]:
        """Folders with `*/defs.yaml`: the home's, then those of TIMESTORE_DEFS."""
        others = tuple(Path(part).expanduser() for part in self.defs.split(os.pathsep) if part)
        return (self.home_folder / "defs", *others)

    @property
    def project_defs(self) -> Path | None:
        """The folder of components of the Dagster project that this process is started in, which Dagster itself loads."""
        project = project_around(Path.cwd())
        return project.defs_folder if project is not None else None

    @property
    def gc_grace(self) -> timedelta:
        return timedelta(seconds=self.gc_grace_seconds)

    @property
    def keep_versions(self) -> timedelta:
        return timedelta(seconds=self.keep_versions_seconds)

    def allowances(self) -> Allowances:
        """What a declaration over HTTP may name."""
        from timestore_assets.model.allowances import Allowances, patterns_of

        return Allowances(
            prefixes=patterns_of(self.http_declare_prefixes),
            topics=patterns_of(self.http_declare_topics),
            groups=patterns_of(self.http_declare_groups),
            dead_letter_topics=patterns_of(self.http_declare_dead_letter_topics),
            targets=patterns_of(self.http_declare_targets),
        )
