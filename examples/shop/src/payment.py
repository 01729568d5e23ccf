"""Payments at the bank, which is not always there."""

import time

RETRY_DELAYS = [0.1, 0.5, 2.0]


class BankUnavailable(Exception):
    """The bank did not answer; nothing was booked."""


def charge_with_retry(bank, card, cents):
    """Charge a card; wait and try again while the bank is unavailable."""
    for delay in RETRY_DELAYS:
        try:
            return bank.charge(card, cents)
        except BankUnavailable:
            time.sleep(delay)
    return bank.charge(card, cents)


def refund(bank, payment):
    """Give the money of a payment back."""
    return bank.refund(payment.reference, payment.cents)
