"""Accounts balance or the shard is not committed."""

from __future__ import annotations

import pytest

from raypipe.core.accounts import Accounts, total


def test_accounts_balance_when_every_row_went_somewhere():
    assert Accounts(read=10, expanded=2, loaded=7, filtered=2, duplicate=1, quarantined=2).balanced


@pytest.mark.parametrize(
    "accounts", [Accounts(read=1), Accounts(loaded=1), Accounts(read=1, loaded=2, filtered=-1), Accounts(read=2, quarantined=1)]
)
def test_a_lost_doubled_or_negative_row_does_not_balance(accounts):
    assert not accounts.balanced


def test_accounts_add_up_field_by_field():
    one = Accounts(read=1, loaded=1)
    two = Accounts(read=3, expanded=1, loaded=1, filtered=1, duplicate=1, quarantined=1)
    assert total([one, two]) == Accounts(read=4, expanded=1, loaded=2, filtered=1, duplicate=1, quarantined=1)
    assert total([]) == Accounts()
