"""Files that come in and files that go out: fetched under guard, checked by content, kept, and linked to."""
