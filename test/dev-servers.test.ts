/** Real development servers behind a tunnel. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { join } from 'node:path'
import { after, test, type TestContext } from 'node:test'
import express from 'express'
import { createServer } from 'vite'
import { WebSocket, WebSocketServer } from 'ws'
import type { DeliverOptions } from '../lib/deliver/deliver.ts'
import { Authority, noOpenssl } from './certificates.ts'
import { type DeliveredWay, deliverTo, tempFolder } from './delivering.ts'
import { ask, listening, until, within } from './helpers.ts'

const rewriting: DeliverOptions = { hostHeader: 'rewrite' }
const changing: DeliverOptions = { header: ['X-Tunnel: on'] }

interface ViteSite {
  port: number
  folder: string
}

async function viteSite(t: TestContext): Promise<ViteSite> {
  const folder = tempFolder(t)
  writeFileSync(join(folder, 'index.html'), '<script type="module" src="/main.js"></script>')
  writeFileSync(
    join(folder, 'main.js'),
    "import { text } from './text.js'\nimport.meta.hot.accept('./text.js', () => {})\ntext()\n",
  )
  writeFileSync(join(folder, 'text.js'), 'export const text = () => "before"\n')
  const own = { root: folder, configFile: false, logLevel: 'silent', clearScreen: false } as const
  const site = await createServer({
    ...own,
    cacheDir: join(folder, 'cache'),
    server: { port: 0, host: '127.0.0.1' },
  })
  t.after(() => site.close())
  await site.listen()
  const address = site.httpServer?.address()
  assert.ok(typeof address === 'object' && address !== null)
  return { port: address.port, folder }
}

interface Update {
  type: string
  updates?: { path: string }[]
}

/** Loads the page as a browser does, opens its WebSocket, changes a file, and waits to be told. */
async function workOn(t: TestContext, { folder }: ViteSite, way: DeliveredWay): Promise<void> {
  const page = await ask(way, { headers: { accept: 'text/html' } })
  assert.equal(page.status, 200)
  assert.match(page.body, /src="\/@vite\/client"[^]*src="\/main\.js"/)
  assert.match((await ask(way, { path: '/main.js' })).body, /text\.js/)
  const client = (await ask(way, { path: '/@vite/client' })).body
  const token = /wsToken = "([^"]+)"/.exec(client)?.[1] ?? ''
  const headers = { host: way.host, origin: way.url }
  const socket = new WebSocket(`ws://127.0.0.1:${way.port}/?token=${token}`, 'vite-hmr', { headers })
  t.after(() => socket.terminate())
  const messages: Update[] = []
  socket.on('message', (data: Buffer) => messages.push(JSON.parse(data.toString()) as Update))
  const opened = new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  await within(opened, 'the WebSocket of Vite')
  await until(() => messages.some(({ type }) => type === 'connected'), 'word from Vite')
  await ask(way, { path: '/text.js' })
  writeFileSync(join(folder, 'text.js'), 'export const text = () => "after"\n')
  const isUpdate = ({ updates }: Update) => updates?.some(({ path }) => path === '/main.js') === true
  await until(() => messages.some(isUpdate), `an update among ${JSON.stringify(messages)}`)
  await until(() => socket.readyState === WebSocket.OPEN, 'the WebSocket to stay open')
  assert.match((await ask(way, { path: `/text.js?t=${Date.now()}` })).body, /after/)
}

test('Vite works as it is under *.localhost: page, modules, hot updates', async (t) => {
  for (const options of [{}, changing]) {
    const site = await viteSite(t)
    await workOn(t, site, await deliverTo(t, site.port, options))
  }
})

test('Vite blocks other hosts, which is told with its cure; the cure works, hot updates included', async (t) => {
  const site = await viteSite(t)
  for (const options of [{}, changing]) {
    const way = await deliverTo(t, site.port, { ...options, host: 'lvh.me' })
    const blocked = await ask(way)
    assert.equal(blocked.status, 403)
    assert.match(blocked.body, /^Blocked request\. This host/)
    assert.deepEqual(way.hints, [
      'the local service seems to refuse the tunnel’s host (Vite); try --host-header rewrite',
    ])
  }
  const cured = await deliverTo(t, site.port, { ...rewriting, host: 'lvh.me' })
  await workOn(t, site, cured)
  assert.deepEqual(cured.hints, [])
})

async function expressApp(t: TestContext): Promise<number> {
  const app = express()
  app.set('trust proxy', 'loopback')
  app.get('/login', (request, response) => {
    response.cookie('sid', '1', { domain: request.hostname, httpOnly: true })
    response.cookie('theme', 'dark')
    response.redirect(`${request.protocol}://${request.host}/in?ip=${request.ip}`)
  })
  app.post('/form', express.urlencoded({ extended: false }), (request, response) => {
    const { origin } = request.headers
    const isOwn = origin === `${request.protocol}://${request.host}`
    response.status(isOwn ? 200 : 403).json(request.body)
  })
  const server = http.createServer(app)
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return listening(server, 0)
}

test('behind Express with trust proxy, redirects, cookies and origins are those of the public URL', async (t) => {
  const port = await expressApp(t)
  for (const options of [{}, changing, rewriting, { hostHeader: 'app.test' }]) {
    const way = await deliverTo(t, port, options)
    const login = await ask(way, { path: '/login' })
    assert.deepEqual([login.status, login.headers.location], [302, `${way.url}/in?ip=127.0.0.1`])
    const domain = new URL(way.url).hostname
    const cookies = [`sid=1; Domain=${domain}; Path=/; HttpOnly`, 'theme=dark; Path=/']
    assert.deepEqual(login.headers['set-cookie'], cookies)
    const form = { 'content-type': 'application/x-www-form-urlencoded', origin: way.url }
    const posted = await ask(way, { path: '/form', method: 'POST', headers: form }, 'a=b')
    assert.deepEqual([posted.status, posted.body], [200, '{"a":"b"}'], JSON.stringify(options))
  }
})

const authority = noOpenssl === false ? new Authority() : undefined
after(() => authority?.remove())

test(
  'a service with a self-signed certificate: pages, redirects, WebSockets',
  { skip: noOpenssl },
  async (t) => {
    assert.ok(authority)
    const { cert, key } = authority.selfSigned('local')
    const pair = { cert: readFileSync(cert), key: readFileSync(key) }
    const app = https.createServer(pair, (request, response) => {
      const { host = '', origin = '' } = request.headers
      if (request.url === '/redirect') response.setHeader('Location', `https://${host}/there`)
      response.end(`${host} ${origin}`)
    })
    const sockets = new WebSocketServer({ server: app })
    sockets.on('connection', (socket) => socket.on('message', (data: Buffer) => socket.send(data)))
    t.after(() => {
      for (const client of sockets.clients) client.terminate()
      app.close()
      app.closeAllConnections()
    })
    const port = await listening(app, 0)
    const self = `localhost:${port}`
    for (const options of [{}, changing, rewriting]) {
      const way = await deliverTo(t, `https://${self}`, options)
      const isSelf = options === rewriting
      const got = await ask(way, { headers: { origin: way.url } })
      assert.equal(got.body, isSelf ? `${self} https://${self}` : `${way.host} ${way.url}`)
      const { location } = (await ask(way, { path: '/redirect' })).headers
      assert.equal(location, isSelf ? `${way.url}/there` : `https://${way.host}/there`)
      const socket = new WebSocket(`ws://127.0.0.1:${way.port}/`, { headers: { host: way.host } })
      t.after(() => socket.terminate())
      socket.on('open', () => socket.send('echo'))
      const echo = new Promise((resolve, reject) => {
        socket.once('message', (data: Buffer) => resolve(data.toString())).once('error', reject)
      })
      assert.equal(await within(echo, 'an echo'), 'echo')
    }
  },
)
