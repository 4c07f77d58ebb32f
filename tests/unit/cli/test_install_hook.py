"""The hook gets where libvirt looks, and over nothing that is somebody else's."""

from pathlib import Path

import pytest

from respawn.agent import hook
from respawn.cli.install_hook import install, main


def test_it_is_installed_once_and_updated(tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    assert install(hooks) == (hooks / "qemu", True)
    assert (hooks / "qemu").read_bytes() == Path(hook.__file__).read_bytes()
    assert (hooks / "qemu").stat().st_mode & 0o777 == 0o755
    assert install(hooks) == (hooks / "qemu", False)
    (hooks / "qemu").write_text((hooks / "qemu").read_text() + "# of an older version\n")
    assert install(hooks) == (hooks / "qemu", True)
    (hooks / "qemu").chmod(0o644)
    assert install(hooks) == (hooks / "qemu", True)
    assert [p.name for p in hooks.iterdir()] == ["qemu"]


def test_somebody_elses_hook_stays(tmp_path: Path) -> None:
    (tmp_path / "qemu").write_text("#!/bin/sh\n")
    assert install(tmp_path) == (tmp_path / "qemu.d/respawn", True)
    assert (tmp_path / "qemu").read_text() == "#!/bin/sh\n"
    assert install(tmp_path) == (tmp_path / "qemu.d/respawn", False)


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--hooks", str(tmp_path)]) == 0
    assert main(["--hooks", str(tmp_path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "next start" in first and "in place" in second
    (tmp_path / "file").touch()
    assert main(["--hooks", str(tmp_path / "file/hooks")]) == 1
    assert "respawn install-hook: " in capsys.readouterr().err
