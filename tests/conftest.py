"""What holds for every test: an example may take as long as a busy machine needs."""

from hypothesis import settings

settings.register_profile("meshnode", deadline=None)
settings.load_profile("meshnode")
