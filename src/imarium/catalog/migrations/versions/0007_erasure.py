"""Erasures"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("begun", sa.String(length=27), nullable=False),
        sa.Column("finished", sa.String(length=27), nullable=True),
        sa.Column("keys", sa.JSON(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    op.create_table(
        "erased_marks",
        sa.Column("mark", sa.String(length=32), nullable=False),
        sa.Column("erasure_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["erasure_id"], ["erasures.id"], name=op.f("fk_erased_marks_erasure_id_erasures")
        ),
        sa.PrimaryKeyConstraint("mark", name=op.f("pk_erased_marks")),
    )
    op.create_index(op.f("ix_erased_marks_erasure_id"), "erased_marks", ["erasure_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_erased_marks_erasure_id"), table_name="erased_marks")
    op.drop_table("erased_marks")
    op.drop_table("erasures")
