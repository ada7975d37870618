import pytest

from tests.component.emulator.workshop import Workshop


@pytest.fixture
def workshop(tmp_path):
    workshop = Workshop(tmp_path)
    yield workshop
    for environment in workshop.environments:
        environment.close()
