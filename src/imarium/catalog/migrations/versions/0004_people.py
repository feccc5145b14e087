"""People: accounts, tokens, roles, agreements, requests for access; whose collection a pack is of"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def _added() -> dict[str, list[sa.Column[Any]]]:
    return {
        "users": [
            sa.Column("email", sa.String(length=254), nullable=True),
            sa.Column("status", sa.String(length=16), server_default="approved", nullable=False),
            sa.Column("is_administrator", sa.Boolean(), server_default=sa.false(), nullable=False),
        ],
        "tokens": [
            sa.Column("kind", sa.String(length=16), server_default="session", nullable=False),
            sa.Column("name", sa.String(length=100), server_default="", nullable=False),
            sa.Column("scopes", sa.String(length=100), server_default="", nullable=False),
            sa.Column("created", MOMENT, nullable=True),
            sa.Column("last_used", MOMENT, nullable=True),
        ],
        "collections": [
            sa.Column("visibility", sa.String(length=16), server_default="registered", nullable=False),
            sa.Column("agreement", sa.Integer(), server_default="0", nullable=False),
        ],
    }


def upgrade() -> None:
    # Columns are added as they are: SQLite cannot make a table anew while rows of others refer to it.
    for table, columns in _added().items():
        for column in columns:
            op.add_column(table, column)
    reference = sa.ForeignKey("collections.id", name=op.f("fk_packs_collection_id_collections"))
    op.add_column(
        "packs",
        sa.Column("collection_id", sa.Integer(), reference, nullable=True),
        inline_references=op.get_bind().dialect.name == "sqlite",
    )
    op.execute(
        "UPDATE packs SET collection_id = ("
        "SELECT CASE WHEN COUNT(DISTINCT studies.collection_id) = 1 THEN MIN(studies.collection_id) END "
        "FROM series JOIN studies ON studies.id = series.study_id WHERE series.pack_id = packs.id)"
    )
    op.execute("UPDATE users SET is_administrator = TRUE WHERE name = 'admin'")
    _make_tables()


def _made_for(table: str, column: str, other: str, cascade: bool = True) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column],
        [f"{other}.id"],
        name=op.f(f"fk_{table}_{column}_{other}"),
        ondelete="CASCADE" if cascade else None,
    )


def _make_tables() -> None:
    op.create_table(
        "identities",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("issuer", sa.String(length=500), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        _made_for("identities", "user_id", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identities")),
        sa.UniqueConstraint("issuer", "subject", name=op.f("uq_identities_issuer")),
    )
    op.create_index(op.f("ix_identities_user_id"), "identities", ["user_id"])
    op.create_table(
        "pending_logins",
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("nonce", sa.String(length=64), nullable=False),
        sa.Column("verifier", sa.String(length=128), nullable=False),
        sa.Column("expires", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("state", name=op.f("pk_pending_logins")),
    )
    op.create_table(
        "attempts",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last", MOMENT, nullable=False),
        sa.Column("blocked_until", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_attempts")),
    )
    op.create_table(
        "roles",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("granted", MOMENT, nullable=False),
        sa.Column("granted_by", sa.String(length=100), server_default="", nullable=False),
        sa.Column("ends", MOMENT, nullable=True),
        _made_for("roles", "user_id", "users"),
        _made_for("roles", "collection_id", "collections"),
        sa.PrimaryKeyConstraint("user_id", "collection_id", name=op.f("pk_roles")),
    )
    op.create_index(op.f("ix_roles_collection_id"), "roles", ["collection_id"])
    op.create_table(
        "agreements",
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("created_by", sa.String(length=100), server_default="", nullable=False),
        _made_for("agreements", "collection_id", "collections"),
        sa.PrimaryKeyConstraint("collection_id", "version", name=op.f("pk_agreements")),
    )
    op.create_table(
        "acceptances",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("accepted", MOMENT, nullable=False),
        _made_for("acceptances", "user_id", "users"),
        _made_for("acceptances", "collection_id", "collections"),
        sa.PrimaryKeyConstraint("user_id", "collection_id", "version", name=op.f("pk_acceptances")),
    )
    op.create_index(op.f("ix_acceptances_collection_id"), "acceptances", ["collection_id"])
    op.create_table(
        "access_requests",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("collection_id", sa.Integer(), nullable=True),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("created", MOMENT, nullable=False),
        sa.Column("status", sa.String(length=16), server_default="open", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("decided", MOMENT, nullable=True),
        sa.Column("decided_by", sa.String(length=100), nullable=True),
        sa.Column("ends", MOMENT, nullable=True),
        _made_for("access_requests", "user_id", "users"),
        _made_for("access_requests", "collection_id", "collections"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_requests")),
    )
    op.create_index(op.f("ix_access_requests_user_id"), "access_requests", ["user_id"])
    op.create_index(op.f("ix_access_requests_collection_id"), "access_requests", ["collection_id"])


def downgrade() -> None:
    """Tokens of programs and accounts that wait or are disabled go: the older schema would let them in."""
    op.execute("DELETE FROM tokens WHERE kind <> 'session'")
    shut = "SELECT id FROM users WHERE status <> 'approved'"
    op.execute(f"DELETE FROM tokens WHERE user_id IN ({shut})")
    for table in (
        "access_requests",
        "acceptances",
        "agreements",
        "roles",
        "attempts",
        "pending_logins",
        "identities",
    ):
        op.drop_table(table)
    op.execute("DELETE FROM users WHERE status <> 'approved'")
    op.drop_column("packs", "collection_id")
    for table, columns in _added().items():
        for column in columns:
            op.drop_column(table, column.name)
