"""What holds for all tests: no example has a deadline, whatever else the machine does."""

from hypothesis import settings

settings.register_profile("longtail", deadline=None)
settings.load_profile("longtail")
