/** The version of the package; the build puts the one of package.json here. */
declare const VERSION: string | undefined
export const version = typeof VERSION === 'string' ? VERSION : 'development'
