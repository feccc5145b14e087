"""Labels, and where levels lie"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "labels",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=500), nullable=False),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.id"], name=op.f("fk_labels_series_id_series"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labels")),
        sa.UniqueConstraint("series_id", "key", name=op.f("uq_labels_series_id")),
    )
    op.create_index(op.f("ix_labels_key_value"), "labels", ["key", "value"], unique=False)
    op.create_table(
        "level_spans",
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("pack_id", sa.Integer(), nullable=False),
        sa.Column("spans", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["series_id"], ["series.id"], name=op.f("fk_level_spans_series_id_series"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["pack_id"], ["packs.id"], name=op.f("fk_level_spans_pack_id_packs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("series_id", name=op.f("pk_level_spans")),
    )
    op.create_index(op.f("ix_level_spans_pack_id"), "level_spans", ["pack_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_level_spans_pack_id"), table_name="level_spans")
    op.drop_table("level_spans")
    op.drop_index(op.f("ix_labels_key_value"), table_name="labels")
    op.drop_table("labels")
