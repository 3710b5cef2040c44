"""Tests that pass no generator draw from the global one: give it the same state in each."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
