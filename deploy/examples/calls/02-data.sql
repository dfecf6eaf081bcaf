-- Sample data from before the migration: three users, and rows of a fourth who is gone. Idempotent; run as a superuser.

BEGIN;

INSERT INTO auth.users (id, email) VALUES
    ('a0000000-0000-4000-8000-0000000000a1', 'ann@acme.example'),
    ('a0000000-0000-4000-8000-0000000000a2', 'ben@acme.example'),
    ('b0000000-0000-4000-8000-0000000000b1', 'gus@globex.example')
ON CONFLICT DO NOTHING;

DO $$
DECLARE
    owner uuid;
    made  bigint;
BEGIN
    IF EXISTS (SELECT FROM public.calls) THEN RETURN; END IF;
    FOREACH owner IN ARRAY '{a0000000-0000-4000-8000-0000000000a1, a0000000-0000-4000-8000-0000000000a2,
                             b0000000-0000-4000-8000-0000000000b1, d0000000-0000-4000-8000-0000000000d1}'::uuid[]
    LOOP
        INSERT INTO public.campaigns (user_id, name) VALUES (owner, 'Spring') RETURNING id INTO made;
        WITH fresh AS (INSERT INTO public.leads (user_id, name, phone)
                       SELECT owner, 'Lead ' || n, '+1 555 010' || n FROM generate_series(1, 3) n RETURNING id)
        INSERT INTO public.campaign_leads SELECT made, id FROM fresh;
        INSERT INTO public.contacts (user_id, name) VALUES (owner, 'A contact');
        WITH fresh AS (INSERT INTO public.calls (user_id, phone)
                       SELECT owner, '+1 555 010' || n FROM generate_series(1, 50) n RETURNING id)
        INSERT INTO public.call_logs (user_id, call_id, line) SELECT owner, id, 'hello' FROM fresh;
        INSERT INTO public.knowledge_base (user_id, title) VALUES (owner, 'Answers') RETURNING id INTO made;
        WITH document AS (INSERT INTO public.knowledge_base_documents (knowledge_base_id, name)
                          VALUES (made, 'FAQ') RETURNING id)
        INSERT INTO public.knowledge_base_chunks (document_id, content)
        SELECT id, 'Part ' || n FROM document, generate_series(1, 4) n;
        INSERT INTO public.usage_events (user_id, seconds) VALUES (owner, 60);
        INSERT INTO public.user_credits VALUES (owner, 100);
    END LOOP;
    -- A chunk whose document is gone.
    INSERT INTO public.knowledge_base_chunks (document_id, content) VALUES (NULL, 'Left over');
END $$;

COMMIT;
