"""Load on the wallets of a bank: the three ways to withdraw, beside reads of the balance and of the health.

    pip install locust
    INIT_BALANCE=100000 locust -f locustfile.py --host=http://localhost:5298

INIT_BALANCE     what the wallet is set to before the first task, by each user of the swarm; not set: it is left as it is
USER_ID          whose wallet; default 123: one wallet for the whole swarm, so that all withdrawals meet
WITHDRAW_AMOUNT  how much; default 3
AMOUNT_JITTER    up to how much more or less, at random; default 0. An amount stays above zero

A refusal of the business (insufficient, conflict, lock_busy) is an answer and no failure; conflict and lock_busy are counted as
requests of their own names, so that the statistics show how often each way gives up.
"""

import os
import random

from locust import HttpUser, constant, task

INIT_BALANCE = os.environ.get("INIT_BALANCE")
USER_ID = os.environ.get("USER_ID", "123")
WITHDRAW_AMOUNT = int(os.environ.get("WITHDRAW_AMOUNT", "3"))
AMOUNT_JITTER = int(os.environ.get("AMOUNT_JITTER") or "0")

GIVEN_UP = {"conflict", "lock_busy"}


def amount():
    """What the next withdrawal asks for."""
    return max(1, WITHDRAW_AMOUNT + random.randint(-AMOUNT_JITTER, AMOUNT_JITTER))


class Customer(HttpUser):
    """Withdraws without pause."""

    wait_time = constant(0)

    def on_start(self):
        if INIT_BALANCE:
            query = {"userId": USER_ID, "balance": INIT_BALANCE}
            self.client.post("/init", params=query, name="init")

    def withdraw(self, way):
        query = {"userId": USER_ID, "amount": amount()}
        with self.client.post("/" + way, params=query, name=way, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"{response.status_code} {response.text}")
                return
            status = response.json()["status"]
            if status in GIVEN_UP:
                response.request_meta["name"] = f"{way} {status}"
            response.success()

    @task(3)
    def withdraw_watch(self):
        self.withdraw("withdraw_watch")

    @task(3)
    def withdraw_lock_lua(self):
        self.withdraw("withdraw_lock_lua")

    @task(3)
    def withdraw_medallion_distributed_lock(self):
        self.withdraw("withdraw_medallion_distributed_lock")

    @task(2)
    def balance(self):
        query = {"userId": USER_ID}
        with self.client.get("/balance", params=query, name="balance", catch_response=True) as response:
            # No wallet is an answer too.
            if response.status_code in (200, 404):
                response.success()

    @task(1)
    def health(self):
        self.client.get("/health", name="health")
