// pgx 4 as two tenants. What the environment means: ../python/scenario.py.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
)

const current = "current_setting('app.current_org_id', true)"

type tenant struct{ name, url, org string }

var (
	ctx     = context.Background()
	acme    = tenant{"acme", os.Getenv("DATABASE_URL"), os.Getenv("EXPECT_TENANT_VALUE")}
	globex  = tenant{"globex", os.Getenv("OTHER_URL"), os.Getenv("OTHER_EXPECT_TENANT_VALUE")}
	tenants = []tenant{acme, globex}
)

type querier interface {
	Query(ctx context.Context, sql string, values ...interface{}) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, values ...interface{}) (pgconn.CommandTag, error)
}

// A check that did not hold, or an error that nobody expected.
func ok(err error) {
	if err != nil {
		panic(err)
	}
}

func equal(got, want interface{}, what string) {
	if got, want := fmt.Sprint(got), fmt.Sprint(want); got != want {
		panic(fmt.Sprintf("%s: expected %s, got %s", what, want, got))
	}
}

func fails(err error, state, what string) *pgconn.PgError {
	var found *pgconn.PgError
	if !errors.As(err, &found) {
		panic(fmt.Sprintf("%s: expected %s, got %v", what, state, err))
	}
	equal(found.Code, state, what)
	return found
}

func connect(of tenant) *pgx.Conn {
	connection, err := pgx.Connect(ctx, of.url)
	ok(err)
	return connection
}

// The first column, joined.
func column(on querier, sql string, values ...interface{}) string {
	rows, err := on.Query(ctx, sql, values...)
	ok(err)
	defer rows.Close()
	var got []string
	for rows.Next() {
		all, err := rows.Values()
		ok(err)
		got = append(got, fmt.Sprint(all[0]))
	}
	ok(rows.Err())
	return strings.Join(got, ",")
}

func run(on querier, sql string, values ...interface{}) int64 {
	tag, err := on.Exec(ctx, sql, values...)
	ok(err)
	return tag.RowsAffected()
}

// Runs the action with a connection of each tenant.
func each(action func(connection *pgx.Conn, of tenant)) {
	for _, of := range tenants {
		connection := connect(of)
		action(connection, of)
		ok(connection.Close(ctx))
	}
}

func connects() {
	each(func(connection *pgx.Conn, of tenant) {
		equal(connection.Config().User, of.name, "user")
		equal(connection.PgConn().ParameterStatus("standard_conforming_strings"), "on", "a reported setting")
		ok(connection.Ping(ctx))
		equal(column(connection, "SELECT "+current), of.org, "context")
	})
}

func reads() {
	for i := 0; i < 5; i++ {
		each(func(connection *pgx.Conn, of tenant) {
			equal(column(connection, "SELECT body FROM notes WHERE body LIKE $1", "%: first"), of.name+": first", "rows")
			equal(column(connection, "SELECT count(*) FROM notes WHERE org_id <> org()"), 0, "others' rows")
		})
	}
}

func writes() {
	each(func(connection *pgx.Conn, of tenant) {
		equal(column(connection, "INSERT INTO notes (body) VALUES ($1) RETURNING org_id::text", of.name+": written"), of.org, "tenant")
		equal(run(connection, "UPDATE notes SET body = body || ' twice' WHERE body LIKE '%: written'"), 1, "rows that an UPDATE reaches")
		equal(run(connection, "DELETE FROM notes WHERE org_id <> org()"), 0, "rows of others that a DELETE reaches")
		_, err := connection.Exec(ctx, "INSERT INTO notes (org_id, body) VALUES (gen_random_uuid(), 'acme: astray')")
		fails(err, "42501", "a row for another tenant")
	})
}

func transactions() {
	each(func(connection *pgx.Conn, of tenant) {
		err := connection.BeginFunc(ctx, func(tx pgx.Tx) error {
			run(tx, "INSERT INTO notes (body) VALUES ($1)", of.name+": rolled back")
			return errors.New("enough")
		})
		equal(err, "enough", "what ended the transaction")
		equal(column(connection, "SELECT body FROM notes WHERE body LIKE '%: rolled back'"), "", "after ROLLBACK")
		err = connection.BeginTxFunc(ctx, pgx.TxOptions{IsoLevel: pgx.Serializable, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			equal(column(tx, "SELECT "+current), of.org, "context")
			_, err := tx.Exec(ctx, "INSERT INTO notes (body) VALUES ('read only')")
			return err
		})
		fails(err, "25006", "a write in a read-only transaction")
	})
}

func savepoints() {
	each(func(connection *pgx.Conn, of tenant) {
		ok(connection.BeginFunc(ctx, func(tx pgx.Tx) error {
			err := tx.BeginFunc(ctx, func(inner pgx.Tx) error {
				run(inner, "INSERT INTO notes (body) VALUES ($1)", of.name+": undone")
				_, err := inner.Exec(ctx, "SELECT 1 / 0")
				return err
			})
			fails(err, "22012", "an error")
			equal(column(tx, "SELECT "+current), of.org, "context behind ROLLBACK TO")
			return tx.BeginFunc(ctx, func(inner pgx.Tx) error {
				run(inner, "INSERT INTO notes (body) VALUES ($1)", of.name+": saved")
				return nil
			})
		}))
		equal(column(connection, "SELECT body FROM notes WHERE body ~ ': (undone|saved)$'"), of.name+": saved", "rows")
	})
}

// Every query is prepared under a name (lrupsc_…) and kept; six clients each in front of four backends.
func prepared() {
	var all sync.WaitGroup
	problems := make(chan interface{}, 12)
	for i := 0; i < 12; i++ {
		all.Add(1)
		go func(of tenant) {
			defer all.Done()
			defer func() {
				if problem := recover(); problem != nil {
					problems <- problem
				}
			}()
			connection := connect(of)
			defer connection.Close(ctx)
			_, err := connection.Prepare(ctx, "by_name", "SELECT "+current+" || $1::text")
			ok(err)
			for n := 0; n < 20; n++ {
				equal(column(connection, "SELECT DISTINCT org_id::text || "+current+" FROM notes WHERE id > $1", n%2), of.org+of.org, "tenants, context")
				equal(column(connection, "by_name", "ü"), of.org+"ü", "by name")
			}
		}(tenants[i%2])
	}
	all.Wait()
	select {
	case problem := <-problems:
		panic(problem)
	default:
	}
}

func errorFields() {
	connection := connect(acme)
	defer connection.Close(ctx)
	_, err := connection.Exec(ctx, "SELECT 'ü', nothing")
	equal(fails(err, "42703", "no column").Position, 13, "position")
	_, err = connection.Exec(ctx, "INSERT INTO notes (id, body) VALUES (1, 'acme: twice')")
	equal(fails(err, "23505", "a key twice").ConstraintName, "notes_pkey", "constraint")
}

func batches() {
	each(func(connection *pgx.Conn, of tenant) {
		batch := &pgx.Batch{}
		for n := 0; n < 300; n++ {
			batch.Queue("INSERT INTO notes (body) VALUES ($1) RETURNING org_id::text", fmt.Sprint(of.name, ": batch ", n))
			batch.Queue("SELECT " + current)
		}
		results := connection.SendBatch(ctx, batch)
		for n := 0; n < 600; n++ {
			var org string
			ok(results.QueryRow().Scan(&org))
			equal(org, of.org, "tenant")
		}
		ok(results.Close())
		broken := &pgx.Batch{}
		broken.Queue("DELETE FROM notes")
		broken.Queue("SELECT 1 / 0")
		fails(connection.SendBatch(ctx, broken).Close(), "22012", "an error in a batch")
		equal(column(connection, "SELECT count(*) FROM notes WHERE body LIKE '%: batch %'"), 300, "rows")
	})
}

func copies() {
	each(func(connection *pgx.Conn, of tenant) {
		rows := make([][]interface{}, 1000)
		for n := range rows {
			rows[n] = []interface{}{fmt.Sprint(of.name, ": copied ", n)}
		}
		ok(connection.BeginFunc(ctx, func(tx pgx.Tx) error {
			got, err := tx.CopyFrom(ctx, pgx.Identifier{"inbox"}, []string{"body"}, pgx.CopyFromRows(rows))
			equal(got, 1000, "rows in")
			equal(column(tx, "SELECT take_in()"), 1000, "rows taken in")
			return err
		}))
		var out strings.Builder
		_, err := connection.PgConn().CopyTo(ctx, &out, "COPY (SELECT body FROM notes WHERE body LIKE '%: copied %') TO STDOUT")
		ok(err)
		equal(strings.Count(out.String(), of.name), 1000, "rows out")
	})
}

func notifications() {
	listener, sender := connect(acme), connect(globex)
	defer listener.Close(ctx)
	defer sender.Close(ctx)
	run(listener, "LISTEN news")
	run(sender, "NOTIFY news, 'hello'")
	limited, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	got, err := listener.WaitForNotification(limited)
	ok(err)
	equal(got.Channel+" "+got.Payload, "news hello", "notification")
}

func cancels() {
	sleeper, watcher := connect(acme), connect(acme)
	defer sleeper.Close(ctx)
	defer watcher.Close(ctx)
	done := make(chan error)
	go func() {
		_, err := sleeper.Exec(ctx, "SELECT pg_sleep(60)")
		done <- err
	}()
	sleeping := "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
	for column(watcher, sleeping) == "0" {
	}
	ok(sleeper.PgConn().CancelRequest(ctx))
	fails(<-done, "57014", "a cancelled query")
	equal(column(sleeper, "SELECT "+current), acme.org, "context afterwards")
	// A context that ends closes the connection.
	limited, stop := context.WithTimeout(ctx, 20*time.Millisecond)
	defer stop()
	_, err := watcher.Exec(limited, "SELECT pg_sleep(60)")
	equal(pgconn.Timeout(err), true, "a timeout of the driver")
}

// The pool, statements that are only described, and the simple protocol.
func habits() {
	for _, of := range append(tenants, tenants...) {
		for _, mode := range []string{"?statement_cache_mode=describe", "?application_name=simple", "?timezone=Asia/Tokyo"} {
			config, err := pgxpool.ParseConfig(of.url + mode)
			ok(err)
			config.MaxConns = 6
			config.ConnConfig.PreferSimpleProtocol = strings.Contains(mode, "simple")
			pool, err := pgxpool.ConnectConfig(ctx, config)
			ok(err)
			for n := 0; n < 6; n++ {
				equal(column(pool, "SELECT DISTINCT "+current+" || $1::text FROM notes WHERE id > $2", "ü", n%2), of.org+"ü", mode)
			}
			if strings.Contains(mode, "Tokyo") {
				equal(column(pool, "SHOW timezone"), "Asia/Tokyo", "a setting of the start")
			}
			pool.Close()
		}
	}
}

func attempt(name string, scenario func()) (passed bool) {
	defer func() {
		if problem := recover(); problem != nil {
			fmt.Printf("FAILED %s: %v\n", name, problem)
		}
	}()
	scenario()
	fmt.Println("ok", name)
	return true
}

func main() {
	names := []string{"connects", "reads", "writes", "transactions", "savepoints", "prepared", "errors", "batches", "copy",
		"notifications", "cancel", "habits"}
	scenarios := []func(){connects, reads, writes, transactions, savepoints, prepared, errorFields, batches, copies,
		notifications, cancels, habits}
	passed, failed := 0, 0
	for n, scenario := range scenarios {
		if len(os.Args) > 1 && os.Args[1] != names[n] {
			continue
		}
		if attempt(names[n], scenario) {
			passed++
		} else {
			failed++
		}
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}
