# DBD::Pg as two tenants. What the environment means: ../python/scenario.py.

use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));
use DBI;
use DBD::Pg qw(:async);

my $context = "current_setting('app.current_org_id', true)";
my @acme = ('acme', @ENV{qw(DATABASE_URL EXPECT_TENANT_VALUE)});
my @globex = ('globex', @ENV{qw(OTHER_URL OTHER_EXPECT_TENANT_VALUE)});
my @tenants = (\@acme, \@globex);

sub connected {
    my ($tenant, %options) = @_;
    my ($user, $password, $host, $port, $name) = $tenant->[1] =~ m{//(.+?):(.+?)@(.+?):(\d+)/(.+)};
    return DBI->connect("dbi:Pg:host=$host;port=$port;dbname=$name", $user, $password,
        { RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1, %options });
}

sub equal {
    my ($got, $want, $what) = @_;
    die "$what: expected $want, got $got\n" unless $got eq $want;
}

sub fails {
    my ($connection, $state, $what, $action) = @_;
    die "$what: expected $state, but it went through\n" if eval { $action->(); 1 };
    equal($connection->state, $state, $what);
}

sub one {
    my ($connection, $sql, @values) = @_;
    return scalar $connection->selectrow_array($sql, undef, @values);
}

sub bodies {
    my ($connection, $ending) = @_;
    return join ',', @{ $connection->selectcol_arrayref('SELECT body FROM notes WHERE body LIKE ? ORDER BY id', undef, "%: $ending") };
}

my @scenarios = (
    connects => sub {
        for my $tenant (@tenants) {
            my $connection = connected($tenant);
            equal($connection->{pg_user}, $tenant->[0], 'user');
            equal($connection->{pg_server_version} >= 140000, 1, 'server version');
            equal($connection->ping, 1, 'ping');
            equal(one($connection, "SELECT $context"), $tenant->[2], 'context');
            my @columns = map { $_->{COLUMN_NAME} } @{ $connection->column_info(undef, 'public', 'notes', '%')->fetchall_arrayref({}) };
            equal("@columns", 'id org_id body', 'columns in the catalogs');
        }
    },
    reads => sub {
        for my $tenant ((@tenants) x 5) {
            my $connection = connected($tenant);
            equal(bodies($connection, 'first'), "$tenant->[0]: first", 'rows');
            equal(one($connection, 'SELECT count(*) FROM notes WHERE org_id <> org()'), 0, "others' rows");
        }
    },
    writes => sub {
        for my $tenant (@tenants) {
            my $connection = connected($tenant);
            equal(one($connection, 'INSERT INTO notes (body) VALUES (?) RETURNING org_id', "$tenant->[0]: written"), $tenant->[2], 'tenant');
            equal($connection->do("UPDATE notes SET body = body || ' twice' WHERE body LIKE '%: written'"), 1, 'rows that an UPDATE reaches');
            equal($connection->do('DELETE FROM notes WHERE org_id <> org()'), '0E0', 'rows of others that a DELETE reaches');
        }
        my $connection = connected(\@acme);
        fails($connection, '42501', 'a row for another tenant',
            sub { $connection->do("INSERT INTO notes (org_id, body) VALUES (?, 'acme: astray')", undef, $globex[2]) });
    },
    transactions => sub {
        for my $tenant (@tenants) {
            my $connection = connected($tenant, AutoCommit => 0);
            $connection->do('INSERT INTO notes (body) VALUES (?)', undef, "$tenant->[0]: rolled back");
            $connection->rollback;
            equal(bodies($connection, 'rolled back'), '', 'after ROLLBACK');
            $connection->commit;
            $connection->{ReadOnly} = 1;
            equal(one($connection, "SELECT $context"), $tenant->[2], 'context');
            fails($connection, '25006', 'a write', sub { $connection->do("INSERT INTO notes (body) VALUES ('read only')") });
            $connection->rollback;
        }
    },
    savepoints => sub {
        for my $tenant (@tenants) {
            my $connection = connected($tenant, AutoCommit => 0);
            $connection->pg_savepoint('one');
            $connection->do('INSERT INTO notes (body) VALUES (?)', undef, "$tenant->[0]: undone");
            fails($connection, '22012', 'an error', sub { $connection->do('SELECT 1 / 0') });
            fails($connection, '25P02', 'and behind it', sub { $connection->do('SELECT 1') });
            $connection->pg_rollback_to('one');
            equal(one($connection, "SELECT $context"), $tenant->[2], 'context behind ROLLBACK TO');
            $connection->do('INSERT INTO notes (body) VALUES (?)', undef, "$tenant->[0]: saved");
            $connection->pg_release('one');
            $connection->commit;
            equal(bodies($connection, 'undone') . bodies($connection, 'saved'), "$tenant->[0]: saved", 'rows');
            $connection->disconnect;
        }
    },
    prepared => sub {
        # Named from the second execution on (dbdpg_p…): six clients each in turn in front of four backends.
        my @clients = map {
            my $connection = connected($_);
            my $sql = "SELECT count(*) FILTER (WHERE org_id <> ?), $context FROM notes WHERE id > ?";
            [$connection, $connection->prepare($sql), $_->[2]]
        } (@tenants) x 6;
        for my $round (1 .. 20) {
            for my $client (@clients) {
                my ($connection, $statement, $org) = @$client;
                $statement->execute($org, $round % 2);
                equal(join(' ', map { @$_ } @{ $statement->fetchall_arrayref }), "0 $org", "others' rows, and context");
            }
        }
        equal($clients[0][1]{pg_prepare_name} =~ /^dbdpg_p/ ? 1 : 0, 1, 'a statement with a name');
    },
    errors => sub {
        my $connection = connected(\@acme);
        fails($connection, '42703', 'no column', sub { $connection->do("SELECT 'ü', nothing") });
        equal($connection->pg_error_field('statement_position'), 13, 'position');
        fails($connection, '23505', 'a key twice', sub { $connection->do("INSERT INTO notes (id, body) VALUES (1, 'acme: twice')") });
        equal($connection->pg_error_field('pg_diag_constraint_name'), 'notes_pkey', 'constraint');
    },
    batches => sub {
        for my $tenant (@tenants) {
            my $connection = connected($tenant, AutoCommit => 0);
            my $insert = $connection->prepare('INSERT INTO notes (body) VALUES (?)');
            equal($insert->execute_array({}, [map { "$tenant->[0]: batch $_" } 1 .. 500]), 500, 'rows of the batch');
            $connection->do("INSERT INTO notes (body) VALUES ('$tenant->[0]: batch'); SAVEPOINT two; DELETE FROM notes; ROLLBACK TO two");
            $connection->commit;
            equal(one($connection, "SELECT count(*) FROM notes WHERE body LIKE '%: batch%'"), 501, 'rows');
        }
    },
    copy => sub {
        for my $tenant (@tenants) {
            my $connection = connected($tenant, AutoCommit => 0);
            $connection->do('COPY inbox (body) FROM STDIN');
            $connection->pg_putcopydata("$tenant->[0]: copied $_\n") for 1 .. 1000;
            $connection->pg_putcopyend;
            equal(one($connection, 'SELECT take_in()'), 1000, 'rows taken in');
            $connection->do("COPY (SELECT body FROM notes WHERE body LIKE '%: copied %') TO STDOUT");
            my ($line, $rows) = ('', 0);
            $rows++ while $connection->pg_getcopydata($line) >= 0;
            equal($rows, 1000, 'rows out');
            $connection->commit;
        }
    },
    notifications => sub {
        my ($listener, $sender) = (connected(\@acme), connected(\@globex));
        $listener->do('LISTEN news');
        $sender->do("NOTIFY news, 'hello'");
        my ($until, $got) = (time + 30);
        $got = $listener->pg_notifies until $got or time > $until;
        equal("@$got[0, 2]", 'news hello', 'notification');
    },
    cancel => sub {
        my ($sleeper, $watcher) = (connected(\@acme), connected(\@acme));
        $sleeper->do('SELECT pg_sleep(60)', { pg_async => PG_ASYNC });
        my $sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        1 until one($watcher, $sleeping);
        equal($sleeper->pg_cancel, 1, 'a cancelled query');
        $sleeper->begin_work;
        $sleeper->do("SET LOCAL statement_timeout = '20ms'");
        fails($sleeper, '57014', 'a timeout', sub { $sleeper->do('SELECT pg_sleep(60)') });
        $sleeper->rollback;
        equal(one($sleeper, "SELECT $context"), $acme[2], 'context afterwards');
    },
    habits => sub {
        # Handles that are kept for the next request, settings, large objects.
        for my $tenant ((@tenants) x 5) {
            my ($user, $password, $address) = $tenant->[1] =~ m{//(.+?):(.+?)@(.+)};
            my ($host, $port, $name) = $address =~ m{(.+?):(\d+)/(.+)};
            my $connection = DBI->connect_cached("dbi:Pg:host=$host;port=$port;dbname=$name;options=--timezone=Asia/Tokyo",
                $user, $password, { RaiseError => 1, AutoCommit => 1 });
            my $statement = $connection->prepare_cached("SELECT current_setting('timezone') || $context");
            $statement->execute;
            equal($statement->fetchall_arrayref->[0][0], "Asia/Tokyo$tenant->[2]", 'setting and context');
            $connection->begin_work;
            my $object = $connection->pg_lo_creat($connection->{pg_INV_WRITE} // 0x20000);
            my $open = $connection->pg_lo_open($object, 0x60000);
            equal($connection->pg_lo_write($open, 'x' x 100_000, 100_000), 100_000, 'large object');
            $connection->rollback;
        }
        $_->disconnect for values %{ { DBI->install_driver('Pg')->{CachedKids}->%* } };
    },
);

my ($passed, $failed) = (0, 0);
while (my ($name, $scenario) = splice @scenarios, 0, 2) {
    next if @ARGV && !grep { $_ eq $name } @ARGV;
    if (eval { $scenario->(); 1 }) { print "ok $name\n"; $passed++ }
    else { print "FAILED $name: $@\n"; $failed++ }
}
print "$passed passed, $failed failed\n";
exit($failed ? 1 : 0);
