"""The audit record"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_SQLITE = (
    """CREATE TRIGGER audit_records_stay BEFORE UPDATE ON audit_records
    BEGIN SELECT RAISE(ABORT, 'audit records are never changed'); END""",
    """CREATE TRIGGER audit_records_remain BEFORE DELETE ON audit_records
    BEGIN SELECT RAISE(ABORT, 'audit records are never deleted'); END""",
    """CREATE TRIGGER audit_records_follow BEFORE INSERT ON audit_records
    WHEN NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM audit_records)
    BEGIN SELECT RAISE(ABORT, 'audit records are numbered without gaps'); END""",
)
_POSTGRESQL = (
    """CREATE FUNCTION audit_records_stay() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'audit records are never changed or deleted'; END $$""",
    """CREATE FUNCTION audit_records_follow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM audit_records) THEN
            RAISE EXCEPTION 'audit records are numbered without gaps';
        END IF;
        RETURN NEW;
    END $$""",
    """CREATE TRIGGER audit_records_stay BEFORE UPDATE OR DELETE ON audit_records
    FOR EACH ROW EXECUTE FUNCTION audit_records_stay()""",
    """CREATE TRIGGER audit_records_remain BEFORE TRUNCATE ON audit_records
    FOR EACH STATEMENT EXECUTE FUNCTION audit_records_stay()""",
    """CREATE TRIGGER audit_records_follow BEFORE INSERT ON audit_records
    FOR EACH ROW EXECUTE FUNCTION audit_records_follow()""",
)


def upgrade() -> None:
    op.create_table(
        "audit_records",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("time", sa.String(length=27), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("origin", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("object_kind", sa.String(length=16), nullable=False),
        sa.Column("object_key", sa.String(length=32), nullable=False),
        sa.Column("outcome", sa.String(length=8), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("seal", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_records")),
    )
    for column in ("time", "actor", "action", "object_key"):
        op.create_index(op.f(f"ix_audit_records_{column}"), "audit_records", [column], unique=False)
    op.create_table(
        "audit_objects",
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("identifier", sa.Text(), nullable=True),
        sa.Column("parent", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_audit_objects")),
    )
    op.create_index(op.f("ix_audit_objects_parent"), "audit_objects", ["parent"], unique=False)
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("audit_objects")
    op.drop_table("audit_records")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_records_stay()")
        op.execute("DROP FUNCTION audit_records_follow()")
