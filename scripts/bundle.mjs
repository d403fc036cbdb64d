// Bundles the program into dist/groktunnel.js, one executable file with no dependency to install, and puts the
// licences of what was bundled beside it.
import { build } from 'esbuild'
import { chmod, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const { version } = JSON.parse(await readFile('package.json', 'utf8'))

/**
 * Imports of node's own modules stand at the head of an ES module and are loaded at the start, also for what is only
 * imported late. These are slow to load and seldom needed, so they are asked for by require.
 */
const late = {
  name: 'late',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:(child_process|https|tls)$/ }, ({ kind, path }) =>
      kind === 'import-statement' ? { path, namespace: 'late' } : undefined,
    )
    onLoad({ filter: /child_process/, namespace: 'late' }, ({ path }) => ({
      contents: ['spawn', 'execFileSync'].map((name) => lateFunction(path, name)).join('\n'),
    }))
    onLoad({ filter: /.*/, namespace: 'late' }, ({ path }) => ({
      contents: `module.exports = require('${path}')`,
    }))
  },
}

/** Also where what imports it is loaded at the start, it is asked for only when it is called. */
function lateFunction(path, name) {
  return `export const ${name} = (...args) => require('${path}').${name}(...args)`
}

const { metafile } = await build({
  entryPoints: ['groktunnel.ts'],
  outfile: 'dist/groktunnel.js',
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  minifySyntax: true,
  minifyWhitespace: true,
  keepNames: false,
  metafile: true,
  logLevel: 'warning',
  legalComments: 'none',
  plugins: [late],
  alias: { 'main-event': './lib/mux/events.ts' },
  define: { VERSION: JSON.stringify(version) },
  // CommonJS dependencies ask for node's own modules by require.
  banner: { js: "import{createRequire as r}from'node:module';const require=r(import.meta.url);" },
})
await chmod('dist/groktunnel.js', 0o755)
await writeFile('dist/THIRD-PARTY.txt', await licences(metafile))

async function licences({ inputs }) {
  const packages = new Set(
    Object.keys(inputs).map((path) => /^node_modules\/(@[^/]+\/)?[^/]+/.exec(path)?.[0]),
  )
  const texts = []
  for (const path of [...packages].filter(Boolean).sort()) texts.push(await licenceOf(path))
  return texts.join(`\n${'-'.repeat(80)}\n\n`)
}

async function licenceOf(path) {
  const { name, version, license } = JSON.parse(await readFile(join(path, 'package.json'), 'utf8'))
  const files = (await readdir(path)).filter((file) => /^(licen[cs]e|notice)/i.test(file)).sort()
  const texts = await Promise.all(files.map((file) => readFile(join(path, file), 'utf8')))
  return `${name} ${version} (${license})\n\n${texts.join('\n')}`
}
