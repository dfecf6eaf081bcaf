<?php
// PDO as two tenants. What the environment means: ../python/scenario.py.

const CONTEXT = "current_setting('app.current_org_id', true)";
$tenants = [
    ['acme', getenv('DATABASE_URL'), getenv('EXPECT_TENANT_VALUE')],
    ['globex', getenv('OTHER_URL'), getenv('OTHER_EXPECT_TENANT_VALUE')],
];

function connect(string $url, array $options = [], string $more = ''): PDO
{
    $url = parse_url($url);
    $dsn = "pgsql:host={$url['host']};port={$url['port']};dbname=" . ltrim($url['path'], '/') . $more;
    return new PDO($dsn, $url['user'], $url['pass'], $options + [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
}

function column(PDO $connection, string $sql, array $values = []): array
{
    $statement = $connection->prepare($sql);
    $statement->execute($values);
    return $statement->columnCount() ? $statement->fetchAll(PDO::FETCH_COLUMN) : [];
}

function one(PDO $connection, string $sql, array $values = [])
{
    return column($connection, $sql, $values)[0];
}

function equal($got, $want, string $what): void
{
    if ($got !== $want) throw new Exception("$what: expected " . json_encode($want) . ', got ' . json_encode($got));
}

function fails(string $state, string $what, callable $action): PDOException
{
    try {
        $action();
    } catch (PDOException $error) {
        equal($error->getCode(), $state, $what);
        return $error;
    }
    throw new Exception("$what: expected $state, but it went through");
}

$scenarios = [
    'connects' => function () use ($tenants) {
        foreach ($tenants as [$name, $url, $org]) {
            $connection = connect($url, [], ';application_name=pdo');
            equal(version_compare($connection->getAttribute(PDO::ATTR_SERVER_VERSION), '14') >= 0, true, 'server version');
            equal(one($connection, 'SELECT ' . CONTEXT), $org, "context of $name");
            equal(one($connection, 'SHOW application_name'), 'pdo', 'application name');
        }
    },
    'reads' => function () use ($tenants) {
        for ($i = 0; $i < 5; $i++) {
            foreach ($tenants as [$name, $url]) {
                $connection = connect($url);
                equal(column($connection, 'SELECT body FROM notes WHERE body LIKE ?', ['%: first']), ["$name: first"], 'rows');
                $connection->beginTransaction();
                // A cursor of the server: DECLARE, FETCH one by one.
                $cursor = $connection->prepare('SELECT body FROM notes ORDER BY id LIMIT 2', [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL]);
                $cursor->execute();
                equal([$cursor->fetchColumn(), $cursor->fetchColumn()], ["$name: first", "$name: second"], 'a cursor');
                $connection->commit();
            }
        }
    },
    'writes' => function () use ($tenants) {
        foreach ($tenants as [$name, $url, $org]) {
            $connection = connect($url);
            equal(one($connection, 'INSERT INTO notes (body) VALUES (?) RETURNING org_id', ["$name: written"]), $org, 'tenant of the row');
            equal($connection->exec("UPDATE notes SET body = body || ' twice' WHERE body LIKE '%: written'"), 1, 'rows that an UPDATE reaches');
            equal($connection->exec('DELETE FROM notes WHERE org_id <> org()'), 0, 'rows of others that a DELETE reaches');
        }
        $insert = fn () => column(connect($tenants[0][1]), "INSERT INTO notes (org_id, body) VALUES (?, 'acme: astray')", [$tenants[1][2]]);
        fails('42501', 'a row for another tenant', $insert);
    },
    'transactions' => function () use ($tenants) {
        foreach ($tenants as [$name, $url, $org]) {
            $connection = connect($url);
            $connection->beginTransaction();
            column($connection, 'INSERT INTO notes (body) VALUES (?)', ["$name: rolled back"]);
            // In a transaction it is its own sequence value; at the beginning of one it could be another client's.
            equal((int) $connection->lastInsertId() > 5, true, 'lastInsertId');
            equal($connection->inTransaction(), true, 'in a transaction');
            $connection->rollBack();
            equal(column($connection, "SELECT body FROM notes WHERE body LIKE '%: rolled back'"), [], 'after ROLLBACK');
            $connection->beginTransaction();
            $connection->exec('SET TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY');
            equal(one($connection, 'SELECT ' . CONTEXT), $org, 'context');
            fails('25006', 'a write', fn () => $connection->exec("INSERT INTO notes (body) VALUES ('read only')"));
            $connection->rollBack();
        }
    },
    'savepoints' => function () use ($tenants) {
        foreach ($tenants as [$name, $url, $org]) {
            $connection = connect($url);
            $connection->beginTransaction();
            $connection->exec('SAVEPOINT one');
            column($connection, 'INSERT INTO notes (body) VALUES (?)', ["$name: undone"]);
            fails('22012', 'an error', fn () => $connection->query('SELECT 1 / 0'));
            fails('25P02', 'and behind it', fn () => $connection->query('SELECT 1'));
            $connection->exec('ROLLBACK TO one');
            equal(one($connection, 'SELECT ' . CONTEXT), $org, 'context behind ROLLBACK TO');
            column($connection, 'INSERT INTO notes (body) VALUES (?)', ["$name: saved"]);
            $connection->commit();
            equal(column($connection, "SELECT body FROM notes WHERE body ~ ': (undone|saved)$'"), ["$name: saved"], 'rows');
        }
    },
    'prepared' => function () use ($tenants) {
        // Named statements (pdo_stmt_…) of six clients each, in turn, in front of four backends; DEALLOCATE when one goes.
        $clients = [];
        foreach (array_merge(...array_fill(0, 6, $tenants)) as [$name, $url, $org]) {
            $statement = connect($url)->prepare('SELECT count(*) FILTER (WHERE org_id <> ?), ' . CONTEXT . ' FROM notes WHERE id > ?');
            $clients[] = [$statement, $org];
        }
        for ($round = 0; $round < 20; $round++) {
            foreach ($clients as [$statement, $org]) {
                $statement->execute([$org, $round % 2]);
                equal($statement->fetchAll(PDO::FETCH_NUM), [[0, $org]], "others' rows, and context");
            }
        }
        $connection = connect($tenants[0][1]);
        for ($round = 0; $round < 20; $round++) {
            equal(one($connection, 'SELECT ' . CONTEXT . " || '$round'"), $tenants[0][2] . $round, 'statements that come and go');
        }
        // Emulated: the values are put into the text.
        $connection->setAttribute(PDO::ATTR_EMULATE_PREPARES, true);
        equal(one($connection, 'SELECT ' . CONTEXT . ' || ?', ["'ü"]), $tenants[0][2] . "'ü", 'emulated');
    },
    'errors' => function () use ($tenants) {
        $connection = connect($tenants[0][1]);
        $error = fails('42703', 'no column', fn () => $connection->query("SELECT 'ü', nothing"));
        equal(str_contains($error->getMessage(), "LINE 1: SELECT 'ü', nothing\n                    ^"), true, 'position: ' . $error->getMessage());
        fails('23505', 'a key twice', fn () => $connection->exec("INSERT INTO notes (id, body) VALUES (1, 'acme: twice')"));
    },
    'batches' => function () use ($tenants) {
        foreach ($tenants as [$name, $url, $org]) {
            $connection = connect($url);
            // Several statements in one string are one implicit transaction.
            $insert = "INSERT INTO notes (body) SELECT '$name: batch ' || n FROM generate_series(1, 500) n;";
            $connection->exec($insert . $insert);
            fails('22012', 'an error in a batch', fn () => $connection->exec("$insert SELECT 1 / 0"));
            equal(one($connection, "SELECT count(*) FROM notes WHERE body LIKE '%: batch %'"), 1000, 'rows');
        }
    },
    'copy' => function () use ($tenants) {
        foreach ($tenants as [$name, $url]) {
            $connection = connect($url);
            $lines = array_map(fn ($n) => "$name: copied $n\n", range(1, 1000));
            $connection->beginTransaction();
            $connection->pgsqlCopyFromArray('inbox', $lines, "\t", '\\\\N', 'body');
            equal(one($connection, 'SELECT take_in()'), 1000, 'rows taken in');
            equal(count($connection->pgsqlCopyToArray("(SELECT body FROM notes WHERE body LIKE '%: copied %')")), 1000, 'rows out');
            $connection->commit();
        }
    },
    'notifications' => function () use ($tenants) {
        [$listener, $sender] = [connect($tenants[0][1]), connect($tenants[1][1])];
        $listener->exec('LISTEN news');
        $sender->exec("NOTIFY news, 'hello'");
        $got = $listener->pgsqlGetNotify(PDO::FETCH_ASSOC, 30000);
        equal([$got['message'], $got['payload']], ['news', 'hello'], 'notification');
    },
    'cancel' => function () use ($tenants) {
        $connection = connect($tenants[0][1]);
        $connection->beginTransaction();
        $connection->exec("SET LOCAL statement_timeout = '20ms'");
        fails('57014', 'a timeout', fn () => $connection->query('SELECT pg_sleep(60)'));
        $connection->rollBack();
        equal(one($connection, 'SELECT ' . CONTEXT), $tenants[0][2], 'context afterwards');
    },
    'habits' => function () use ($tenants) {
        // Persistent connections come back as they were left; large objects; rows one at a time.
        for ($round = 0; $round < 10; $round++) {
            foreach ($tenants as [, $url, $org]) {
                $connection = connect($url, [PDO::ATTR_PERSISTENT => true], ";options='-c timezone=Asia/Tokyo'");
                equal(one($connection, 'SHOW timezone') . one($connection, 'SELECT ' . CONTEXT), "Asia/Tokyo$org", 'setting and context');
                unset($connection);
            }
        }
        $connection = connect($tenants[0][1]);
        $connection->beginTransaction();
        $object = $connection->pgsqlLOBCreate();
        $stream = $connection->pgsqlLOBOpen($object, 'w');
        fwrite($stream, random_bytes(100000));
        $stream = null;
        equal(strlen(stream_get_contents($connection->pgsqlLOBOpen($object, 'r'))), 100000, 'large object');
        $connection->rollBack();
    },
];

$count = ['passed' => 0, 'failed' => 0];
foreach ($scenarios as $name => $scenario) {
    if ($argc > 1 && !in_array($name, $argv)) continue;
    try {
        $scenario();
        $count['passed']++;
        echo "ok $name\n";
    } catch (Throwable $problem) {
        $count['failed']++;
        echo "FAILED $name: $problem\n";
    }
}
echo "{$count['passed']} passed, {$count['failed']} failed\n";
exit($count['failed'] ? 1 : 0);
