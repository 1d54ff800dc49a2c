"""The files of deploy/ are accepted by the programs that read them, where those are installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.application import ROOT

DEPLOY = ROOT / "deploy"
NAME = "agent.example.com"


@pytest.mark.skipif(
    not shutil.which("nginx") or not shutil.which("openssl"), reason="SKIPPED: nginx or openssl is not installed"
)
def test_nginx_accepts_the_configuration_of_the_proxy(tmp_path: Path):
    certificate, key = tmp_path / "fullchain.pem", tmp_path / "privkey.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    shipped = (DEPLOY / "proxy" / "nginx.conf").read_text()
    (tmp_path / "site.conf").write_text(
        shipped.replace(f"/etc/letsencrypt/live/{NAME}", str(tmp_path))
        .replace("listen 80;", "listen 127.0.0.1:18480;")
        .replace("listen 443 ssl", "listen 127.0.0.1:18443 ssl")
    )
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n"
        + "".join(
            f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + f"access_log off;\ninclude {tmp_path}/site.conf;\n}}\n"
    )

    done = subprocess.run(
        ["nginx", "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not shutil.which("caddy"), reason="SKIPPED: caddy is not installed")
def test_caddy_accepts_the_configuration_of_the_proxy(tmp_path: Path):
    own = {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    command = ["caddy", "validate", "--adapter", "caddyfile", "--config"]

    done = subprocess.run(
        [*command, str(DEPLOY / "proxy" / "Caddyfile")],
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="SKIPPED: systemd-analyze is not installed")
@pytest.mark.parametrize("name", ["whatsapp-agent.service", "whatsapp-agent-worker@1.service"])
def test_systemd_accepts_the_unit(name: str, tmp_path: Path):
    shipped = (DEPLOY / "systemd" / name.replace("@1", "@")).read_text()
    unit = tmp_path / name  # the program that it starts has to exist
    unit.write_text(shipped.replace("/srv/whatsapp/bin/whatsapp-agent", "/bin/true"))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )

    assert (done.returncode, [line for line in done.stderr.splitlines() if name in line]) == (0, []), done.stderr
