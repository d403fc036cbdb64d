import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

// build/test/architecture.test.js: the sources are two folders up
const root = fileURLToPath(new URL('../..', import.meta.url))
const sources = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(
  (path) => /^(lib\/.*|[^/]*)\.ts$/.test(path) && !path.endsWith('.d.ts'),
)

function importsOf(path: string): string[] {
  const text = readFileSync(join(root, path), 'utf8')
  const found = [...text.matchAll(/^(?:import|export)\s[^'"]*?from\s+'([^']+)'|^import\s+'([^']+)'/gm)]
  const late = [...text.matchAll(/\bimport\('([^']+)'\)/g)].map(([, from]) => from ?? '')
  return [...found.map(([, from, bare]) => from ?? bare ?? ''), ...late]
}

function resolve(from: string, to: string): string {
  return normalize(join(dirname(from), to))
}

/** How far from the program: a file imports only files of a higher number, or of its own room. */
const layers: [pattern: RegExp, layer: number][] = [
  [/^groktunnel\.ts$/, 0],
  [/^lib\/(announce|arrivals|deliver|detach|names|outbound|tls|together)\//, 1],
  [/^lib\/(demo|drain|heartbeat|key|landing|reconnect|tap|tunnel)\.ts$/, 1],
  [/^(vhost\.ts$|lib\/vhost\/|lib\/(mux|hello)\.ts$)/, 2],
  [/^(join|subdomain)\.ts$/, 3],
  [/^lib\/api\.ts$/, 9], // shapes, of which nothing is there at run time
  [/^lib\//, 4],
]

function layerOf(path: string): number {
  return layers.find(([pattern]) => pattern.test(path))?.[1] ?? NaN
}

/** A folder of lib/, or a file on its own. */
function roomOf(path: string): string {
  return /^lib\/([^/]+)\//.exec(path)?.[1] ?? path
}

test('every source file has its place in the layers', () => {
  assert.ok(sources.length > 20, `only ${sources.length} sources found`)
  for (const path of sources) assert.ok(!Number.isNaN(layerOf(path)), `${path} is in no layer`)
})

test('imports point one way', () => {
  for (const path of sources) {
    for (const to of importsOf(path).filter((to) => to.startsWith('.') && path !== 'lib/api.ts')) {
      const target = resolve(path, to)
      assert.ok(layerOf(target) >= layerOf(path), `${path} imports ${target}, which is nearer to the program`)
    }
  }
})

test('no import leads back to where it came from', () => {
  const graph = new Map(
    sources.map((path) => [
      path,
      importsOf(path).flatMap((to) => (to.startsWith('.') ? [resolve(path, to)] : [])),
    ]),
  )
  // visitor.ts needs the shape of a visit, and rooms those of the library entry: nothing at run time
  const typeOnly = ['lib/vhost/visit.ts', 'lib/vhost/visitor.ts', 'lib/api.ts']
  const visit = (path: string, trail: string[]): void => {
    assert.ok(!trail.includes(path), `${[...trail, path].join(' → ')}`)
    for (const to of graph.get(path) ?? [])
      if (!(typeOnly.includes(path) && typeOnly.includes(to))) visit(to, [...trail, path])
  }
  visit('groktunnel.ts', [])
})

test('rooms do not import each other', () => {
  const rooms = sources.filter((path) => layerOf(path) === 1)
  for (const path of rooms) {
    for (const to of importsOf(path).filter((to) => to.startsWith('.'))) {
      const target = resolve(path, to)
      assert.ok(roomOf(target) === roomOf(path) || layerOf(target) > 1, `${path} imports the room ${target}`)
    }
  }
})

const doors: [dependency: RegExp, door: string][] = [
  [/^(@chainsafe|@libp2p)\//, 'lib/mux.ts'],
  [/^http-parser-js$/, 'lib/http/parser.ts'],
  [/^proxy-protocol-js$/, 'lib/arrivals/proxies.ts'],
  [/^minimist$/, 'lib/options/words.ts'],
  [/^fastest-levenshtein$/, 'lib/options/mistakes.ts'],
  [/^http-proxy-node16$/, 'lib/deliver/proxy.ts'],
  [/^sirv$/, 'lib/deliver/directory.ts'],
  [/^picocolors$/, 'lib/announce/display/screen.ts'],
  [/^uqr$/, 'lib/announce/qr.ts'],
  [/^smol-toml$/, 'lib/toml.ts'],
  [/^(https-proxy-agent|proxy-from-env)$/, 'lib/outbound/connect-proxy.ts'],
]

test('each dependency has one door', () => {
  for (const path of sources) {
    for (const to of importsOf(path).filter((to) => !to.startsWith('.') && !to.startsWith('node:'))) {
      const door = doors.find(([dependency]) => dependency.test(to))?.[1]
      assert.equal(path, door, `${path} imports ${to}`)
    }
  }
})

test('only the process room exits, prints and handles signals', () => {
  for (const path of sources) {
    const text = readFileSync(join(root, path), 'utf8').replace(/\/\*[^]*?\*\/|\/\/.*$/gm, '')
    const found = /\bconsole\.|process\.(exit|on|once|off|stdout|stderr)\b/.exec(text)?.[0]
    // lib/detach/background.ts hears only of its parent, and of its own end.
    if (!['groktunnel.ts', 'lib/process.ts', 'lib/detach/background.ts'].includes(path))
      assert.equal(found, undefined, `${path}: ${found}`)
  }
})

test('a user installs one package: nothing is a dependency at run time', () => {
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    dependencies?: object
  }
  assert.equal(dependencies, undefined)
})

const sizes: [file: string, most: number][] = [
  ['groktunnel.ts', 200],
  ['join.ts', 50],
  ['vhost.ts', 170],
  ['subdomain.ts', 40],
]

for (const [file, most] of sizes) {
  test(`${file} has at most ${most} lines`, () => {
    const lines = readFileSync(join(root, file), 'utf8').split('\n').length - 1
    assert.ok(lines <= most, `${file} has ${lines} lines`)
  })
}
