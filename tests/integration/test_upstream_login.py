"""Warmwire's own login at real servers: TLS in all its modes, both authentication plugins, and what refusals look like."""

import pymysql
import pytest

from tests.servers import certificates
from tests.servers.server import APP_PASSWORD


def connect(proxy, **options):
    # Nothing of the client's TLS: Warmwire offers none on loopback.
    return pymysql.connect(host=proxy.host, port=proxy.port, user="app", ssl_disabled=True, **options)


def cipher_of_upstream(proxy):
    with connect(proxy) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        return cursor.fetchone()[1]


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca", "required"])
def test_the_upstream_is_encrypted(server, warmwire, mode):
    proxy = warmwire(server, WARMWIRE_DB_TLS=mode, **({"WARMWIRE_DB_TLS_CA": None} if mode == "required" else {}))
    assert cipher_of_upstream(proxy)


def test_the_upstream_is_plain_only_where_that_was_asked_for(server, warmwire):
    assert cipher_of_upstream(warmwire(server, WARMWIRE_DB_TLS="disabled")) == ""


def test_a_certificate_of_another_authority_is_refused_and_the_error_says_what_helps(server, warmwire, tmp_path):
    stranger = certificates.make(tmp_path / "stranger")
    proxy = warmwire(server, WARMWIRE_DB_TLS_CA=stranger.authority)
    with pytest.raises(pymysql.OperationalError) as refused:
        connect(proxy)
    errno, text = refused.value.args
    assert errno == 1105
    assert "is not trusted" in text and "WARMWIRE_DB_TLS_CA" in text


def test_a_certificate_for_another_name_is_refused_by_verify_full_only(server, warmwire):
    """The servers' certificate is for 127.0.0.1 and localhost; 127.1 is the same address by another name."""
    strict = warmwire(server, WARMWIRE_DB_HOST="127.1")
    with pytest.raises(pymysql.OperationalError) as refused:
        connect(strict)
    assert refused.value.args[0] == 1105 and "verify-ca" in refused.value.args[1]
    assert cipher_of_upstream(warmwire(server, WARMWIRE_DB_HOST="127.1", WARMWIRE_DB_TLS="verify-ca"))


@pytest.mark.parametrize("mode", ["verify-full", "disabled"])
def test_the_login_works_with_a_cold_and_a_warm_cache_of_the_server(mysql, warmwire, mode):
    """caching_sha2_password: in full (over TLS in clear, without it by RSA) after FLUSH PRIVILEGES, fast afterwards."""
    mysql.query("FLUSH PRIVILEGES")
    for _ in range(2):
        proxy = warmwire(mysql, WARMWIRE_DB_TLS=mode)
        with connect(proxy, database="app") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT CURRENT_USER()")
            assert cursor.fetchone()[0].startswith("app@")
        proxy.stop()


@pytest.mark.parametrize("mode", ["verify-full", "disabled"])
def test_an_account_without_a_password(server, warmwire, mode):
    proxy = warmwire(server, WARMWIRE_DB_USER="app_empty", WARMWIRE_DB_PASSWORD=None, WARMWIRE_DB_TLS=mode)
    with pymysql.connect(host=proxy.host, port=proxy.port, user="app_empty", ssl_disabled=True) as connection:
        assert connection.ping() is None


def test_the_servers_refusal_reaches_the_client_as_it_is(server, warmwire):
    proxy = warmwire(server, WARMWIRE_DB_PASSWORD="wrong")
    with pytest.raises(pymysql.OperationalError) as refused:
        connect(proxy)
    with pytest.raises(pymysql.OperationalError) as directly:
        server.connect("app", "wrong")
    assert refused.value.args == directly.value.args
    assert "wrong" not in proxy.log


def test_a_database_that_does_not_exist_is_refused_as_it_is_directly(server, warmwire):
    proxy = warmwire(server, WARMWIRE_DB_USER="root", WARMWIRE_DB_PASSWORD=server.root_password)
    with pytest.raises(pymysql.OperationalError) as refused:
        pymysql.connect(host=proxy.host, port=proxy.port, user="root", database="nowhere", ssl_disabled=True)
    with pytest.raises(pymysql.OperationalError) as directly:
        server.connect("root", database="nowhere")
    assert refused.value.args == directly.value.args


def test_the_local_password_is_asked_for_where_it_is_set(server, warmwire):
    proxy = warmwire(server, WARMWIRE_LOCAL_PASSWORD="of the function")
    with connect(proxy, password="of the function") as connection:
        connection.ping()
    for wrong in ("", "of the functio", APP_PASSWORD):
        with pytest.raises(pymysql.OperationalError) as refused:
            connect(proxy, password=wrong)
        assert refused.value.args[0] == 1045
