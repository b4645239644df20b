from __future__ import annotations

from pathlib import Path

import pytest

from genway.config import ConfigError, load


def test_the_command_line_beats_the_environment_and_that_beats_the_file(tmp_path: Path) -> None:
    path = tmp_path / "genway.toml"
    path.write_text('data = "from-file"\n[server]\nport = 1\nhost = "file"\nworkers = 3\n')
    config = load(path, {"GENWAY_SERVER_PORT": "2", "GENWAY_SERVER_HOST": "env"}, {"server": {"port": 9}})
    assert (config.server.port, config.server.host, config.server.workers) == (9, "env", 3)
    assert config.data == "from-file"


def test_lists_and_tables_come_from_variables_too() -> None:
    config = load(
        environ={
            "GENWAY_MEDIA_ALLOW_PRIVATE": "10.0.0.0/8, files.internal",
            "GENWAY_STORAGE_OPTIONS": "region=eu,endpoint=http://127.0.0.1:9",
            "GENWAY_DATA": "/srv/genway",
            "GENWAY_BOOTSTRAP_KEY": "abc",
            "HOME": "/root",
        }
    )
    assert config.media.allow_private == ["10.0.0.0/8", "files.internal"]
    assert config.storage.options == {"region": "eu", "endpoint": "http://127.0.0.1:9"}
    assert config.data == "/srv/genway"
    assert config.security.bootstrap_key == "abc"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"GENWAY_SERVER_PRT": "1"}, "GENWAY_SERVER_PRT: there is no such setting"),
        ({"GENWAY_NOTHING": "1"}, "GENWAY_NOTHING: there is no such setting"),
        ({"GENWAY_SERVER_PORT": "many"}, r"server\.port"),
    ],
)
def test_a_setting_that_is_unknown_or_wrong_is_named(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(environ=environ)


def test_a_file_that_is_missing_broken_or_has_unknown_settings_is_named(tmp_path: Path) -> None:
    path = tmp_path / "genway.toml"
    with pytest.raises(ConfigError, match="No such file"):
        load(path)
    path.write_text("[server\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(path)
    path.write_text("[server]\nspeed = 3\n")
    with pytest.raises(ConfigError, match="speed"):
        load(path)


def test_the_database_and_the_store_live_in_the_data_folder_unless_said_otherwise(tmp_path: Path) -> None:
    config = load(overrides={"data": str(tmp_path)})
    assert config.database_url == f"sqlite:///{tmp_path}/genway.sqlite3"
    assert config.storage_url == (tmp_path / "media").as_uri()
